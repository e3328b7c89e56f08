// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A TCG plugin: where do the guest's instructions go? Counts every executed
 * instruction while a workload is between profile_begin() and profile_end()
 * (bench/secret.h), and writes "address count event" lines to out=FILE when the
 * guest ends: counted, not sampled. A function's first address gives how often
 * it was called; event names instructions that change what the TLB holds, as
 * their cost is not their number, and those that zero and copy memory wherever
 * the compiler put them. One vCPU only.
 *
 * Debian ships no qemu-plugin.h, so what is used of version 7 of the plugin
 * interface (QEMU 11) is declared here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

/* A member of what each vCPU has an element of. */
struct qemu_plugin_scoreboard;
typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} qemu_plugin_u64;

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
		void (*cb)(struct qemu_plugin_tb *tb, void *data), void *data);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
		struct qemu_plugin_insn *insn, enum qemu_plugin_op op,
		qemu_plugin_u64 entry, uint64_t imm);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
		void (*cb)(unsigned int vcpu, void *data),
		enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
		void (*cb)(void *data), void *data);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score,
		unsigned int vcpu);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *
qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *dest,
		size_t len);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 7;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info,
			       int argc, char **argv);

/* One counter per instruction address; open addressing, never shrinks. */
#define SLOT_BITS	20

struct slot {
	uint64_t address;
	uint64_t at_begin;
	uint64_t counted;
	const char *event;
};

static struct slot *slots;
/* The counters themselves: translated code writes them, all the time. */
static struct qemu_plugin_scoreboard *executed;
static const char *out;

static struct slot *slot_of(uint64_t address)
{
	size_t mask = (1UL << SLOT_BITS) - 1, tries;
	size_t i = (address * 0x9e3779b97f4a7c15ULL) >> (64 - SLOT_BITS);

	for (tries = 0; tries <= mask; tries++, i = (i + 1) & mask) {
		if (!slots[i].address)
			slots[i].address = address;
		if (slots[i].address == address)
			return &slots[i];
	}
	fprintf(stderr, "insn-profile: more code than slots\n");
	exit(1);
}

static void begin(unsigned int vcpu, void *data)
{
	uint64_t *now = qemu_plugin_scoreboard_find(executed, vcpu);
	size_t i;

	(void)data;
	for (i = 0; i < 1UL << SLOT_BITS; i++)
		slots[i].at_begin = now[i];
}

static void end(unsigned int vcpu, void *data)
{
	uint64_t *now = qemu_plugin_scoreboard_find(executed, vcpu);
	size_t i;

	(void)data;
	for (i = 0; i < 1UL << SLOT_BITS; i++)
		slots[i].counted += now[i] - slots[i].at_begin;
}

/* nopl disp32(%rax): what profile_begin() and profile_end() execute. */
static uint32_t marker(const unsigned char *code, size_t size)
{
	uint32_t displacement;

	if (size != 7 || memcmp(code, "\x0f\x1f\x80", 3))
		return 0;
	memcpy(&displacement, code + 3, sizeof(displacement));
	return displacement;
}

/*
 * What flushes: cr3 (or a switch of address spaces), invlpg, invpcid. What zeroes
 * and copies, each step of it: stos, movs. Or "-".
 */
static const char *event_of(const unsigned char *code, size_t size)
{
	const unsigned char *end = code + size;
	bool rep = false;

	/* Operand size, REP and REX prefixes. */
	for (; code < end; code++) {
		if (*code == 0xf3)
			rep = true;
		else if (*code != 0x66 && (*code & 0xf0) != 0x40)
			break;
	}
	if (rep && end - code == 1 && (code[0] & 0xfe) == 0xaa)
		return "stos";
	if (rep && end - code == 1 && (code[0] & 0xfe) == 0xa4)
		return "movs";
	if (end - code < 3 || code[0] != 0x0f)
		return "-";
	/* MOV to CR: the register is in the middle of ModRM. */
	if (code[1] == 0x22 && (code[2] >> 3 & 7) == 3)
		return "cr3";
	/* 0F 01 /7 with a memory operand; with a register it is SWAPGS etc. */
	if (code[1] == 0x01 && (code[2] >> 3 & 7) == 7 && code[2] >> 6 != 3)
		return "invlpg";
	if (code[1] == 0x38 && code[2] == 0x82)
		return "invpcid";
	return "-";
}

static void translate(struct qemu_plugin_tb *tb, void *data)
{
	size_t i;

	(void)data;
	for (i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		struct slot *slot = slot_of(qemu_plugin_insn_vaddr(insn));
		qemu_plugin_u64 counter = {
			executed, (slot - slots) * sizeof(uint64_t)
		};
		unsigned char code[16];
		size_t size = qemu_plugin_insn_data(insn, code, sizeof(code));
		uint32_t which = marker(code, size);

		slot->event = event_of(code, size);
		qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn,
			QEMU_PLUGIN_INLINE_ADD_U64, counter, 1);
		if (which == 0x45500001 || which == 0x45500002)
			qemu_plugin_register_vcpu_insn_exec_cb(insn,
				which == 0x45500001 ? begin : end,
				QEMU_PLUGIN_CB_NO_REGS, NULL);
	}
}

static void write_out(void *data)
{
	FILE *file = fopen(out, "w");
	size_t i;

	(void)data;
	if (!file) {
		perror(out);
		return;
	}
	for (i = 0; i < 1UL << SLOT_BITS; i++)
		if (slots[i].counted)
			fprintf(file, "%016" PRIx64 " %" PRIu64 " %s\n",
				slots[i].address, slots[i].counted,
				slots[i].event);
	fclose(file);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info,
			       int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4)) {
		fprintf(stderr, "insn-profile: wants out=FILE\n");
		return 1;
	}
	out = strdup(argv[0] + 4);
	slots = calloc(1UL << SLOT_BITS, sizeof(*slots));
	executed = qemu_plugin_scoreboard_new(sizeof(uint64_t) << SLOT_BITS);
	if (!out || !slots || !executed)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate, NULL);
	qemu_plugin_register_atexit_cb(id, write_out, NULL);
	return 0;
}
