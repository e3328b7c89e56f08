// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A TCG plugin: a model of a TLB, filled by what the guest fetches, loads and
 * stores, emptied by its INVLPGs and writes to CR0, CR3 and CR4. From the first
 * profile_begin() (bench/secret.h) on the model is kept up to date; what happens
 * between each profile_begin() and profile_end() is a line of out=FILE, whose
 * first line names the columns. The first such line has nothing or too little: until
 * then the guest runs at full speed. One vCPU only.
 *
 * The sizes are those of Intel's Skylake-SP: "Intel 64 and IA-32 Architectures
 * Optimization Reference Manual", TLB parameters of the Skylake microarchitecture.
 * l2=SETSxWAYS is another second level. Each set forgets what was used longest ago.
 *
 * An access that misses walks the guest's page tables, which gives the size of its
 * page, whether it is global, and how many entries a walk reads that has no
 * paging-structure caches. What the model has not: these caches, accesses by
 * speculation, prefetching, permissions, and walks that end in a page fault.
 * An instruction is looked up when its translation block begins, or crosses to
 * another page, not for each fetch of 16 or 32 bytes; its address is where the
 * block was translated first, as blocks do not depend on where they are mapped.
 *
 * The guest has no PCIDs: each write to CR3 flushes what is not global. With pcid=on
 * the model has them all the same, one for each root: only a write of the root that
 * is loaded flushes, and that root alone. What the guest's kernel does is that of a
 * CPU without them, so this is a lower bound of misses, no more.
 */
#include "plugin.h"

#define PTE_PRESENT	(1ULL << 0)
#define PTE_LARGE	(1ULL << 7)
#define PTE_GLOBAL	(1ULL << 8)
#define PTE_ADDRESS	0x000ffffffffff000ULL
#define CR4_LA57	(1ULL << 12)

#define MSR_SPEC_CTRL	0x48
#define MSR_PRED_CMD	0x49
#define MSR_FLUSH_CMD	0x10b

/* --- the TLB ------------------------------------------------------------------ */

enum size { SIZE_4K, SIZE_2M, SIZE_1G, SIZES };
enum kind { DATA, CODE, KINDS };

static const unsigned int shift_of[SIZES] = { 12, 21, 30 };

struct entry {
	uint64_t page;
	uint64_t root;
	uint64_t used;		/* 0: empty */
	enum size size;
	bool global;
};

struct tlb {
	unsigned int sets;
	unsigned int ways;
	struct entry *entries;
};

static struct tlb data_4k = { 16, 4, NULL };
static struct tlb data_2m = { 8, 4, NULL };
static struct tlb data_1g = { 1, 4, NULL };
static struct tlb code_4k = { 16, 8, NULL };
static struct tlb code_2m = { 1, 8, NULL };	/* and 1 GB */
static struct tlb both = { 128, 12, NULL };	/* 4 KB and 2 MB */
static struct tlb both_1g = { 4, 4, NULL };

static struct tlb *const all[] = {
	&data_4k, &data_2m, &data_1g, &code_4k, &code_2m, &both, &both_1g,
};

static struct tlb *const first[KINDS][SIZES] = {
	[DATA] = { &data_4k, &data_2m, &data_1g },
	[CODE] = { &code_4k, &code_2m, &code_2m },
};

static struct tlb *const second[SIZES] = { &both, &both, &both_1g };

/* --- what is counted ---------------------------------------------------------- */

enum counter {
	ACCESSES,	/* loads and stores */
	FETCHES,	/* translation blocks, and pages that they cross to */
	L1_DATA,	/* misses */
	L1_CODE,
	WALKS_DATA,	/* misses of both levels */
	WALKS_CODE,
	WALKS_LARGE,	/* of these: 2 MB and 1 GB pages */
	LEVELS,		/* entries that they read */
	UNWALKED,	/* not mapped when the plugin looked */
	INVLPG,
	WRITES_CR3,
	FLUSHED_ALL,	/* writes to CR0 and CR4 */
	RETURNS,	/* of the kernel's functions */
	TO_USER,	/* SYSRET and IRET, those within the kernel, too */
	INDIRECT,	/* the kernel's calls and jumps by a pointer */
	RETPOLINES,
	VERW,
	LFENCE,
	WRITES_SPEC_CTRL,
	IBPB,
	FLUSHES_L1D,
	COUNTERS,
};

static const char *const names[COUNTERS] = {
	"accesses", "fetches", "l1_data", "l1_code", "walks_data", "walks_code",
	"walks_large", "levels", "unwalked", "invlpg", "cr3", "flushed_all",
	"returns", "to_user", "indirect", "retpolines", "verw", "lfence",
	"spec_ctrl", "ibpb", "l1d_flush",
};

static uint64_t now[COUNTERS];
static uint64_t at_begin[COUNTERS];

static FILE *out;
static bool running;
static bool pcid;
static uint64_t cr3, cr4;
static uint64_t clock_;
/* The 4 KB page that was looked up last is there for sure. */
static uint64_t last_page[KINDS] = { ~0ULL, ~0ULL };

static bool here(const struct entry *entry)
{
	return entry->used && (entry->global || entry->root == cr3 || !pcid);
}

static struct entry *set_of(const struct tlb *tlb, uint64_t page)
{
	return tlb->entries + page % tlb->sets * tlb->ways;
}

static struct entry *find(const struct tlb *tlb, uint64_t address,
			  enum size size)
{
	uint64_t page = address >> shift_of[size];
	struct entry *entry = set_of(tlb, page);
	unsigned int way;

	for (way = 0; way < tlb->ways; way++, entry++)
		if (entry->page == page && entry->size == size && here(entry)) {
			entry->used = ++clock_;
			return entry;
		}
	return NULL;
}

static void fill(const struct tlb *tlb, uint64_t address, enum size size,
		 bool global)
{
	uint64_t page = address >> shift_of[size];
	struct entry *entry = set_of(tlb, page), *oldest = entry;
	unsigned int way;

	for (way = 1; way < tlb->ways; way++)
		if (entry[way].used < oldest->used)
			oldest = &entry[way];
	*oldest = (struct entry){ page, cr3, ++clock_, size, global };
}

enum what { NOT_GLOBAL, EVERYTHING, OF_ROOT, AT_ADDRESS };

static void flush(enum what what, uint64_t address)
{
	size_t t, i;

	for (t = 0; t < sizeof(all) / sizeof(*all); t++)
		for (i = 0; i < all[t]->sets * all[t]->ways; i++) {
			struct entry *entry = &all[t]->entries[i];

			if ((what == NOT_GLOBAL && entry->global) ||
			    (what == OF_ROOT &&
			     (entry->global || entry->root != cr3)) ||
			    (what == AT_ADDRESS &&
			     (entry->page != address >> shift_of[entry->size] ||
			      !here(entry))))
				continue;
			entry->used = 0;
		}
	last_page[DATA] = ~0ULL;
	last_page[CODE] = ~0ULL;
}

static struct bytes *buffer;

/* False if it is not mapped. */
static bool walk(uint64_t address, enum size *size, bool *global)
{
	uint64_t table = cr3 & PTE_ADDRESS, pte;
	int level;

	for (level = cr4 & CR4_LA57 ? 4 : 3; level >= 0; level--) {
		uint64_t index = address >> (12 + 9 * level) & 511;

		if (qemu_plugin_read_memory_hwaddr(table + index * sizeof(pte),
						   buffer, sizeof(pte)))
			return false;
		memcpy(&pte, buffer->data, sizeof(pte));
		if (!(pte & PTE_PRESENT))
			return false;
		now[LEVELS]++;
		if (!level || (level < SIZES && pte & PTE_LARGE)) {
			*size = level;
			*global = pte & PTE_GLOBAL;
			return true;
		}
		table = pte & PTE_ADDRESS;
	}
	return false;
}

static void look_up(enum kind kind, uint64_t address)
{
	const struct entry *entry;
	enum size size;
	bool global;

	if (address >> 12 == last_page[kind])
		return;
	last_page[kind] = address >> 12;
	for (size = 0; size < SIZES; size++)
		if (find(first[kind][size], address, size))
			return;
	now[kind == DATA ? L1_DATA : L1_CODE]++;
	for (size = 0; size < SIZES; size++) {
		entry = find(second[size], address, size);
		if (entry) {
			fill(first[kind][size], address, size, entry->global);
			return;
		}
	}
	if (!walk(address, &size, &global)) {
		now[UNWALKED]++;
		last_page[kind] = ~0ULL;
		return;
	}
	now[kind == DATA ? WALKS_DATA : WALKS_CODE]++;
	now[WALKS_LARGE] += size != SIZE_4K;
	fill(second[size], address, size, global);
	fill(first[kind][size], address, size, global);
}

/* --- registers ------------------------------------------------------------------ */

/* As instructions number them. */
enum { RCX = 1, RSP = 4, GPRS = 16, CR3 = GPRS, CR4, REGISTERS };

static const char *const register_names[REGISTERS] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cr3", "cr4",
};

static struct qemu_plugin_register *registers[REGISTERS];

static void vcpu_init(unsigned int vcpu, void *data)
{
	struct array *found = qemu_plugin_get_registers();
	size_t size = g_array_get_element_size(found), i, r;

	(void)vcpu;
	(void)data;
	for (i = 0; i < found->len; i++) {
		struct qemu_plugin_reg_descriptor *descriptor =
			(void *)(found->data + i * size);

		for (r = 0; r < REGISTERS; r++)
			if (!strcmp(descriptor->name, register_names[r]))
				registers[r] = descriptor->handle;
	}
	for (r = 0; r < REGISTERS; r++)
		if (!registers[r]) {
			fprintf(stderr, "tlb-model: no register %s\n",
				register_names[r]);
			exit(1);
		}
}

static uint64_t read_register(unsigned int which)
{
	uint64_t value = 0;

	g_byte_array_set_size(buffer, 0);
	if (!qemu_plugin_read_register(registers[which], buffer) ||
	    buffer->len > sizeof(value)) {
		fprintf(stderr, "tlb-model: cannot read %s\n",
			register_names[which]);
		exit(1);
	}
	memcpy(&value, buffer->data, buffer->len);
	return value;
}

/* --- instructions --------------------------------------------------------------- */

static void begin(unsigned int vcpu, void *data)
{
	(void)vcpu;
	(void)data;
	if (running && ((cr3 ^ read_register(CR3)) & PTE_ADDRESS)) {
		fprintf(stderr, "tlb-model: a write to CR3 was missed\n");
		exit(1);
	}
	cr3 = read_register(CR3) & PTE_ADDRESS;
	cr4 = read_register(CR4);
	running = true;
	memcpy(at_begin, now, sizeof(now));
}

static void end(unsigned int vcpu, void *data)
{
	size_t i;

	(void)vcpu;
	(void)data;
	for (i = 0; i < COUNTERS; i++)
		fprintf(out, "%" PRIu64 "%c", now[i] - at_begin[i],
			i < COUNTERS - 1 ? ',' : '\n');
	fflush(out);
}

static void access_data(unsigned int vcpu, qemu_plugin_meminfo_t info,
			uint64_t address, void *data)
{
	uint64_t last;

	(void)vcpu;
	(void)data;
	if (!running)
		return;
	now[ACCESSES]++;
	look_up(DATA, address);
	last = address + (1ULL << qemu_plugin_mem_size_shift(info)) - 1;
	if (last >> 12 != address >> 12)
		look_up(DATA, last);
}

static void access_code(unsigned int vcpu, void *data)
{
	(void)vcpu;
	if (!running)
		return;
	now[FETCHES]++;
	look_up(CODE, (uint64_t)data);
}

static void count(unsigned int vcpu, void *data)
{
	(void)vcpu;
	now[(uintptr_t)data]++;
}

static void write_cr0_cr4(unsigned int vcpu, void *data)
{
	(void)vcpu;
	if (!running)
		return;
	now[FLUSHED_ALL]++;
	if ((uintptr_t)data < GPRS)
		cr4 = read_register((uintptr_t)data);
	flush(EVERYTHING, 0);
}

static void write_cr3(unsigned int vcpu, void *data)
{
	uint64_t root;

	(void)vcpu;
	if (!running)
		return;
	now[WRITES_CR3]++;
	root = read_register((uintptr_t)data) & PTE_ADDRESS;
	if (!pcid)
		flush(NOT_GLOBAL, 0);
	else if (root == cr3)
		flush(OF_ROOT, 0);
	cr3 = root;
	last_page[DATA] = ~0ULL;
	last_page[CODE] = ~0ULL;
}

/* base + index * scale + displacement, as an operand has it. */
struct operand {
	uint64_t displacement;
	int base, index;	/* -1: none */
	unsigned int scale;
};

static void invlpg(unsigned int vcpu, void *data)
{
	const struct operand *operand = data;
	uint64_t address = operand->displacement;

	(void)vcpu;
	if (!running)
		return;
	now[INVLPG]++;
	if (operand->base >= 0)
		address += read_register(operand->base);
	if (operand->index >= 0)
		address += read_register(operand->index) << operand->scale;
	flush(AT_ADDRESS, address);
}

static void wrmsr(unsigned int vcpu, void *data)
{
	(void)vcpu;
	(void)data;
	if (!running)
		return;
	switch (read_register(RCX) & 0xffffffff) {
	case MSR_SPEC_CTRL:
		now[WRITES_SPEC_CTRL]++;
		break;
	case MSR_PRED_CMD:
		now[IBPB]++;
		break;
	case MSR_FLUSH_CMD:
		now[FLUSHES_L1D]++;
		break;
	}
}

/* The memory operand of an instruction whose ModRM is at @code; @next follows. */
static struct operand *operand_of(const unsigned char *code, uint64_t next,
				  unsigned char rex)
{
	unsigned int mod = code[0] >> 6, rm = code[0] & 7;
	struct operand *operand = malloc(sizeof(*operand));
	int32_t wide;

	if (!operand)
		exit(1);
	*operand = (struct operand){ 0, rm | (rex & 1) << 3, -1, 0 };
	code++;
	if (rm == RSP) {
		unsigned int sib = *code++;

		operand->index = (sib >> 3 & 7) | (rex & 2) << 2;
		if (operand->index == RSP)
			operand->index = -1;
		operand->scale = sib >> 6;
		rm = sib & 7;
		operand->base = rm | (rex & 1) << 3;
		if (!mod && rm == 5) {
			operand->base = -1;
			mod = 2;
		}
	} else if (!mod && rm == 5) {
		/* Relative to the next instruction. */
		operand->displacement = next;
		operand->base = -1;
		mod = 2;
	}
	if (mod == 1) {
		operand->displacement += (int8_t)*code;
	} else if (mod == 2) {
		memcpy(&wide, code, sizeof(wide));
		operand->displacement += (int64_t)wide;
	}
	return operand;
}

static void count_insn(struct qemu_plugin_insn *insn, enum counter counter)
{
	qemu_plugin_register_vcpu_insn_exec_cb(insn, count,
		QEMU_PLUGIN_CB_NO_REGS, (void *)(uintptr_t)counter);
}

/* What flushes, or stands for a mitigation. */
static void translate_event(struct qemu_plugin_insn *insn,
			    const unsigned char *code, size_t size)
{
	const unsigned char *end = code + size;
	uint64_t next = qemu_plugin_insn_vaddr(insn) + size;
	void (*cb)(unsigned int vcpu, void *data) = NULL;
	unsigned char rex = 0;
	void *data = NULL;

	for (; code < end; code++) {
		if ((*code & 0xf0) == 0x40)
			rex = *code;
		else if (*code != 0x66 && *code != 0xf3 && *code != 0x3e)
			break;
	}
	size = end - code;
	if (size == 1 && next >> 63) {
		if (code[0] == 0xc3)
			count_insn(insn, RETURNS);
		else if (code[0] == 0xcf)
			count_insn(insn, TO_USER);
	}
	/* FF /2 and FF /4. */
	if (size >= 2 && next >> 63 && code[0] == 0xff &&
	    ((code[1] >> 3 & 7) == 2 || (code[1] >> 3 & 7) == 4))
		count_insn(insn, INDIRECT);
	if (size < 2 || code[0] != 0x0f)
		return;
	if (size >= 3)
		data = (void *)(uintptr_t)((code[2] & 7) | (rex & 1) << 3);
	if (writes_cr(code, size, 3)) {
		cb = write_cr3;
	} else if (writes_cr(code, size, 4)) {
		cb = write_cr0_cr4;
	} else if (writes_cr(code, size, 0)) {
		cb = write_cr0_cr4;
		data = (void *)(uintptr_t)GPRS;
	} else if (is_invlpg(code, size)) {
		cb = invlpg;
		data = operand_of(code + 2, next, rex);
	} else if (code[1] == 0x30) {
		cb = wrmsr;
	} else if (code[1] == 0x07) {
		count_insn(insn, TO_USER);
	} else if (size >= 3 && code[1] == 0x00 && (code[2] >> 3 & 7) == 5) {
		count_insn(insn, VERW);
	} else if (size == 3 && code[1] == 0xae && code[2] == 0xe8) {
		count_insn(insn, LFENCE);
	} else if (is_invpcid(code, size)) {
		fprintf(stderr, "tlb-model: INVPCID is not in the model\n");
		exit(1);
	}
	if (cb)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, cb,
			QEMU_PLUGIN_CB_R_REGS, data);
}

/* mov %REG,(%rsp), and then a return, which goes there. */
static bool is_retpoline(const unsigned char *code, size_t size,
			 const unsigned char *next)
{
	return size == 4 && (code[0] & 0xfb) == 0x48 && code[1] == 0x89 &&
	       (code[2] & 0xc7) == 0x04 && code[3] == 0x24 &&
	       (next[0] == 0xc3 || next[0] == 0xe9);
}

static void translate_marker(struct qemu_plugin_insn *insn,
			     const unsigned char *code, size_t size,
			     void (*on_begin)(unsigned int vcpu, void *data))
{
	uint32_t which = marker(code, size);

	if (which == MARK_BEGIN || which == MARK_END)
		qemu_plugin_register_vcpu_insn_exec_cb(insn,
			which == MARK_BEGIN ? on_begin : end,
			QEMU_PLUGIN_CB_R_REGS, NULL);
}

static void translate(struct qemu_plugin_tb *tb, void *data)
{
	size_t n = qemu_plugin_tb_n_insns(tb), size, before_size = 0, i;
	unsigned char code[16], before[16];
	struct qemu_plugin_insn *before_insn = NULL;
	uint64_t page = ~0ULL;

	(void)data;
	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		uint64_t last;

		size = qemu_plugin_insn_data(insn, code, sizeof(code));
		last = address + size - 1;
		if (address >> 12 != page)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, access_code,
				QEMU_PLUGIN_CB_NO_REGS, (void *)address);
		if (last >> 12 != address >> 12)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, access_code,
				QEMU_PLUGIN_CB_NO_REGS, (void *)last);
		page = last >> 12;

		qemu_plugin_register_vcpu_mem_cb(insn, access_data,
			QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
		translate_event(insn, code, size);
		if (before_insn && is_retpoline(before, before_size, code))
			count_insn(before_insn, RETPOLINES);
		translate_marker(insn, code, size, begin);
		memcpy(before, code, sizeof(before));
		before_size = size;
		before_insn = insn;
	}
}

static void at_exit(void *data)
{
	(void)data;
	fclose(out);
}

static qemu_plugin_id_t id_;

/* All that was translated before is forgotten. */
static void start(void *data)
{
	(void)data;
	qemu_plugin_register_vcpu_tb_trans_cb(id_, translate, NULL);
	qemu_plugin_register_atexit_cb(id_, at_exit, NULL);
}

static void first_begin(unsigned int vcpu, void *data)
{
	static bool done;

	(void)vcpu;
	(void)data;
	if (!done)
		qemu_plugin_reset(id_, start, NULL);
	done = true;
}

static void translate_markers(struct qemu_plugin_tb *tb, void *data)
{
	unsigned char code[16];
	size_t i, size;

	(void)data;
	for (i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		size = qemu_plugin_insn_data(insn, code, sizeof(code));
		translate_marker(insn, code, size, first_begin);
	}
}

static bool parse(const char *option)
{
	if (!strncmp(option, "out=", 4))
		return !out && (out = fopen(option + 4, "w"));
	if (!strncmp(option, "l2=", 3))
		return sscanf(option + 3, "%ux%u", &both.sets, &both.ways) == 2 &&
		       both.sets && both.ways;
	pcid = !strcmp(option, "pcid=on");
	return pcid || !strcmp(option, "pcid=off");
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info,
			       int argc, char **argv)
{
	size_t i;
	int arg;

	(void)info;
	for (arg = 0; arg < argc && parse(argv[arg]); arg++)
		;
	if (arg < argc || !out) {
		fprintf(stderr,
			"tlb-model: wants out=FILE [l2=SETSxWAYS] [pcid=on|off]\n");
		return 1;
	}
	for (i = 0; i < sizeof(all) / sizeof(*all); i++) {
		all[i]->entries = calloc((size_t)all[i]->sets * all[i]->ways,
					 sizeof(struct entry));
		if (!all[i]->entries)
			return 1;
	}
	buffer = g_byte_array_new();
	for (i = 0; i < COUNTERS; i++)
		fprintf(out, "%s%c", names[i], i < COUNTERS - 1 ? ',' : '\n');
	qemu_plugin_register_vcpu_init_cb(id, vcpu_init, NULL);
	id_ = id;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate_markers, NULL);
	return 0;
}
