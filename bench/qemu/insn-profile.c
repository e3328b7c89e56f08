// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A TCG plugin: where do the guest's instructions go? Counts every executed
 * instruction while a workload is between profile_begin() and profile_end()
 * (bench/secret.h), and writes "address count event" lines to out=FILE when the
 * guest ends: counted, not sampled. A function's first address gives how often
 * it was called; event names instructions that change what the TLB holds, as
 * their cost is not their number, and those that zero and copy memory wherever
 * the compiler put them. One vCPU only.
 */
#include "plugin.h"

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
	size = end - code;
	if (writes_cr(code, size, 3))
		return "cr3";
	if (is_invlpg(code, size))
		return "invlpg";
	if (is_invpcid(code, size))
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
		if (which == MARK_BEGIN || which == MARK_END)
			qemu_plugin_register_vcpu_insn_exec_cb(insn,
				which == MARK_BEGIN ? begin : end,
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
