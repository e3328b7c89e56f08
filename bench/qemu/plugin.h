/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What QEMU's plugins in this directory share: how the guest says what is to be
 * counted, and how instructions look.
 *
 * Debian ships no qemu-plugin.h, so what is used of version 7 of the plugin
 * interface (QEMU 11), and of GLib by it, is declared here.
 */
#ifndef BENCH_QEMU_PLUGIN_H
#define BENCH_QEMU_PLUGIN_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_register;

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_CB_R_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_RW = 3 };

/* A member of what each vCPU has an element of. */
struct qemu_plugin_scoreboard;
typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} qemu_plugin_u64;

/* The public members of GByteArray and GArray. */
struct bytes {
	uint8_t *data;
	unsigned int len;
};

struct array {
	char *data;
	unsigned int len;
};

struct qemu_plugin_reg_descriptor {
	struct qemu_plugin_register *handle;
	const char *name;
	const char *feature;
};

struct bytes *g_byte_array_new(void);
struct bytes *g_byte_array_set_size(struct bytes *bytes, unsigned int size);
unsigned int g_array_get_element_size(struct array *array);

void qemu_plugin_reset(qemu_plugin_id_t id, void (*cb)(void *data), void *data);
void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t id,
		void (*cb)(unsigned int vcpu, void *data), void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
		void (*cb)(struct qemu_plugin_tb *tb, void *data), void *data);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
		void (*cb)(unsigned int vcpu, void *data),
		enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
		struct qemu_plugin_insn *insn, enum qemu_plugin_op op,
		qemu_plugin_u64 entry, uint64_t imm);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
		void (*cb)(unsigned int vcpu, void *data),
		enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
		void (*cb)(unsigned int vcpu, qemu_plugin_meminfo_t info,
			   uint64_t vaddr, void *data),
		enum qemu_plugin_cb_flags flags, enum qemu_plugin_mem_rw rw,
		void *data);
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
unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
struct array *qemu_plugin_get_registers(void);
bool qemu_plugin_read_register(struct qemu_plugin_register *handle,
		struct bytes *buffer);
int qemu_plugin_read_memory_hwaddr(uint64_t address, struct bytes *buffer,
		size_t len);

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 7;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info,
			       int argc, char **argv);

#define MARK_BEGIN	0x45500001
#define MARK_END	0x45500002

/* nopl disp32(%rax): what profile_begin() and profile_end() execute. */
static inline uint32_t marker(const unsigned char *code, size_t size)
{
	uint32_t displacement;

	if (size != 7 || memcmp(code, "\x0f\x1f\x80", 3))
		return 0;
	memcpy(&displacement, code + 3, sizeof(displacement));
	return displacement;
}

/* MOV to CR: the register that is written is in the middle of ModRM. */
static inline bool writes_cr(const unsigned char *code, size_t size, int cr)
{
	return size >= 3 && code[0] == 0x0f && code[1] == 0x22 &&
	       (code[2] >> 3 & 7) == cr;
}

/* 0F 01 /7 with a memory operand; with a register it is SWAPGS etc. */
static inline bool is_invlpg(const unsigned char *code, size_t size)
{
	return size >= 3 && code[0] == 0x0f && code[1] == 0x01 &&
	       (code[2] >> 3 & 7) == 7 && code[2] >> 6 != 3;
}

static inline bool is_invpcid(const unsigned char *code, size_t size)
{
	return size >= 3 && code[0] == 0x0f && code[1] == 0x38 &&
	       code[2] == 0x82;
}

#endif
