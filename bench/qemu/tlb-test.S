/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What bench/qemu/tlb-model.c is tested with: a kernel, started by multiboot, that
 * maps memory, touches so many pages so many times between the marks of
 * profile_begin() and profile_end(), and ends the machine by isa-debug-exit. What
 * each such region has to show is in section .wants, by the names of columns: those
 * that are not named have to be 0, but for fetches. Its own page is one of 2 MB,
 * and it reads no data but what it touches.
 */
#define PML4	0x200000
#define PDPT	0x201000
#define PD_CODE	0x202000	/* 0: itself */
#define PD_4K	0x203000	/* 1 GB: 16 MB in pages of 4 KB */
#define PD_2M	0x204000	/* 2 GB: 512 pages of 2 MB */
#define PD_G	0x205000	/* 3 GB: 16 MB in global pages of 4 KB */
#define PTS	0x210000	/* 8, all entries of which are the same page */
#define PTS_G	0x220000
#define PAGE	0x400000

#define SMALL	0x40000000
#define LARGE	0x80000000
#define LARGE_TOO 0x84000000
#define GLOBAL	0xc0000000

	.text
	.long	0x1badb002, 0, -0x1badb002	/* the multiboot header */

	.code32
	.globl	_start
_start:
	movl	$PDPT + 3, PML4
	movl	$PD_CODE + 3, PDPT
	movl	$PD_4K + 3, PDPT + 8
	movl	$PD_2M + 3, PDPT + 16
	movl	$PD_G + 3, PDPT + 24
	movl	$0x83, PD_CODE
	xorl	%ecx, %ecx
1:	movl	%ecx, %eax
	shll	$12, %eax
	leal	PTS + 3(%eax), %edx
	movl	%edx, PD_4K(, %ecx, 8)
	leal	PTS_G + 3(%eax), %edx
	movl	%edx, PD_G(, %ecx, 8)
	incl	%ecx
	cmpl	$8, %ecx
	jb	1b
	xorl	%ecx, %ecx
2:	movl	$PAGE + 3, PTS(, %ecx, 8)
	movl	$PAGE + 0x103, PTS_G(, %ecx, 8)
	incl	%ecx
	cmpl	$4096, %ecx
	jb	2b
	xorl	%ecx, %ecx
3:	movl	$PAGE + 0x83, PD_2M(, %ecx, 8)
	incl	%ecx
	cmpl	$512, %ecx
	jb	3b

	movl	$0xa0, %eax		/* PAE, PGE */
	movl	%eax, %cr4
	movl	$PML4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER: LME */
	rdmsr
	btsl	$8, %eax
	wrmsr
	movl	%cr0, %eax
	btsl	$31, %eax
	movl	%eax, %cr0
	lgdt	gdt_pointer
	ljmp	$8, $long_mode

	.code64
	/* @pages of @bytes from @where on, @times over. No stack, no data. */
	.macro touch where, pages, bytes, times
	movl	$\times, %edx
1:	movl	$\where, %ebx
	movl	$\pages, %ecx
2:	movb	(%rbx), %al
	addq	$\bytes, %rbx
	decl	%ecx
	jnz	2b
	decl	%edx
	jnz	1b
	.endm

	.macro region wants
	.pushsection .wants
	.ascii	"\wants\n"
	.popsection
	nopl	0x45500001(%rax)
	.endm

	.macro end
	nopl	0x45500002(%rax)
	.endm

long_mode:
	/* Not counted: the model starts with it. */
	nopl	0x45500001(%rax)
	jmp	1f
1:	end

	region	"accesses=256 l1_data=32 walks_data=32 levels=131 l1_code=1 walks_code=1 walks_large=1"
	touch	SMALL, 32, 4096, 8
	end
	region	"accesses=256"
	touch	SMALL, 32, 4096, 8
	end

	/* 512 fit the second level only; 32 of them are there. */
	region	"accesses=512 l1_data=480 walks_data=480 levels=1920"
	touch	SMALL, 512, 4096, 1
	end
	region	"accesses=1024 l1_data=1024"
	touch	SMALL, 512, 4096, 2
	end

	/* 4096 do not fit, and those that are there are not reached in time. */
	touch	SMALL, 4096, 4096, 1
	region	"accesses=8192 l1_data=8192 walks_data=8192 levels=32768"
	touch	SMALL, 4096, 4096, 2
	end

	/* INVLPG: of what it names, by any operand. */
	touch	SMALL, 32, 4096, 2
	region	"accesses=32 invlpg=3 l1_data=3 walks_data=3 levels=12"
	movl	$SMALL, %ebx
	movl	$0x1000, %r9d
	invlpg	(%rbx)
	invlpg	0x123(%rbx, %r9)
	invlpg	0x2000(%rbx)
	touch	SMALL, 32, 4096, 1
	end

	/* A write to CR3: of all but what is global. */
	touch	GLOBAL, 32, 4096, 2
	touch	SMALL, 32, 4096, 2
	region	"accesses=64 cr3=1 l1_data=32 walks_data=32 levels=131 l1_code=1 walks_code=1 walks_large=1"
	movq	%cr3, %r8
	movq	%r8, %cr3
	touch	SMALL, 32, 4096, 1
	touch	GLOBAL, 32, 4096, 1
	end

	/* To CR4: of these, too. */
	region	"accesses=32 flushed_all=1 l1_data=32 walks_data=32 levels=131 l1_code=1 walks_code=1 walks_large=1"
	movq	%cr4, %r10
	movq	%r10, %cr4
	touch	GLOBAL, 32, 4096, 1
	end

	/* Pages of 2 MB: a level less; 32 fit the first level. */
	region	"accesses=64 l1_data=32 walks_data=32 levels=96 walks_large=32"
	touch	LARGE, 32, 0x200000, 2
	end
	region	"accesses=32 l1_data=32 walks_data=32 levels=96 walks_large=32"
	touch	LARGE_TOO, 32, 0x200000, 1
	end

	/* A store that crosses to another page: of one it is in the TLB. */
	touch	SMALL, 2, 4096, 2
	region	"accesses=1 l1_data=1 walks_data=1 levels=4"
	movl	$SMALL + 0x1ffc, %ebx
	movq	%rax, (%rbx)
	end

	movl	$0x501, %edx
	movb	$0x10, %al
	outb	%al, %dx
	hlt

	.balign	8
gdt:	.quad	0, 0x00af9b000000ffff
gdt_pointer:
	.word	15
	.long	gdt
