// SPDX-License-Identifier: GPL-2.0
/*
 * usage: json_value [KEY...] <FILE
 *
 * Exit status 0 if FILE is one JSON text, to the letter of RFC 8259, with no
 * name twice in an object; else 1, and a line that says where it is not. With
 * KEYs, names or numbers of elements, print the value that they lead to, or
 * fail. The last KEY may be "#": how many elements there are. The guest has no
 * other program that reads JSON.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT	(4 << 20)
#define MAX_DEPTH	64
#define MAX_NAMES	4096

static char text[MAX_TEXT + 1];
static const char *at = text;
static unsigned int depth;
static bool found;

static void value(char **path);

static void fail(const char *why)
{
	fprintf(stderr, "not JSON at byte %td: %s\n", at - text, why);
	exit(1);
}

static void blanks(void)
{
	at += strspn(at, " \t\n\r");
}

static void expect(char c)
{
	if (*at != c)
		fail("another character was expected");
	at++;
}

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static void digits(void)
{
	if (!digit(*at))
		fail("a digit was expected");
	while (digit(*at))
		at++;
}

static void number(void)
{
	at += *at == '-';
	if (*at == '0')
		at++;
	else
		digits();
	if (*at == '.') {
		at++;
		digits();
	}
	if (*at == 'e' || *at == 'E') {
		at++;
		at += *at == '-' || *at == '+';
		digits();
	}
}

/* One character beyond ASCII, in the shortest form. */
static void utf8(void)
{
	const unsigned char *s = (const unsigned char *)at;
	unsigned int c, i, len, min;

	if (*s >= 0xc0 && *s < 0xe0)
		len = 2, min = 0x80, c = *s & 0x1f;
	else if (*s >= 0xe0 && *s < 0xf0)
		len = 3, min = 0x800, c = *s & 0xf;
	else if (*s >= 0xf0 && *s < 0xf8)
		len = 4, min = 0x10000, c = *s & 7;
	else
		fail("no UTF-8");
	for (i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			fail("no UTF-8");
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < min || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		fail("no UTF-8");
	at += len;
}

static void string(void)
{
	unsigned int i;

	expect('"');
	while (*at != '"') {
		if ((unsigned char)*at < 0x20)
			fail("a control character, or the end, in a string");
		if ((unsigned char)*at >= 0x80) {
			utf8();
			continue;
		}
		if (*at++ != '\\')
			continue;
		if (*at == 'u') {
			at++;
			for (i = 0; i < 4; i++, at++)
				if (!*at || !strchr("0123456789abcdefABCDEF", *at))
					fail("no hexadecimal digit");
		} else if (!*at || !strchr("\"\\/bfnrt", *at++)) {
			fail("no such escape");
		}
	}
	at++;
}

/* Whether the path goes on with what is from @start to here. */
static bool leads_here(char **path, const char *start, size_t len)
{
	return path && *path && strlen(*path) == len &&
	       !memcmp(*path, start, len);
}

static void print_count(char **path, size_t nr)
{
	if (path && *path && !strcmp(*path, "#") && !path[1]) {
		printf("%zu\n", nr);
		found = true;
	}
}

static void object(char **path)
{
	const char **names = calloc(MAX_NAMES, sizeof(*names)), *start;
	size_t nr = 0, i, len;

	expect('{');
	blanks();
	while (*at != '}') {
		if (nr) {
			expect(',');
			blanks();
		}
		start = at;
		string();
		len = at - start;
		for (i = 0; i < nr; i++)
			if (!strncmp(names[i], start, len))
				fail("a name is there twice");
		if (nr == MAX_NAMES)
			fail("too many names for this program");
		names[nr++] = start;
		blanks();
		expect(':');
		value(leads_here(path, start + 1, len - 2) ? path + 1 : NULL);
	}
	at++;
	print_count(path, nr);
	free(names);
}

static void array(char **path)
{
	char index[24];
	size_t nr = 0;

	expect('[');
	blanks();
	while (*at != ']') {
		if (nr)
			expect(',');
		snprintf(index, sizeof(index), "%zu", nr++);
		value(leads_here(path, index, strlen(index)) ? path + 1 : NULL);
	}
	at++;
	print_count(path, nr);
}

static void word(const char *w)
{
	if (strncmp(at, w, strlen(w)))
		fail("no value");
	at += strlen(w);
}

static void value(char **path)
{
	const char *start;

	if (++depth > MAX_DEPTH)
		fail("too deep for this program");
	blanks();
	start = at;
	switch (*at) {
	case '{':
		object(path);
		break;
	case '[':
		array(path);
		break;
	case '"':
		string();
		break;
	case 't':
		word("true");
		break;
	case 'f':
		word("false");
		break;
	case 'n':
		word("null");
		break;
	default:
		number();
	}
	if (path && !*path) {
		bool quoted = *start == '"';

		printf("%.*s\n", (int)(at - start) - 2 * quoted, start + quoted);
		found = true;
	}
	blanks();
	depth--;
}

int main(int argc, char **argv)
{
	size_t len = fread(text, 1, MAX_TEXT, stdin);

	value(argc > 1 ? argv + 1 : NULL);
	if (at != text + len)
		fail("something follows");
	if (argc > 1 && !found) {
		fprintf(stderr, "there is no %s\n", argv[argc - 1]);
		return 1;
	}
	return 0;
}
