/* manual: fills the templates of the manual pages. What they say of verbs, options and settings is
 * taken from the tables from which the programs take it.
 *
 *     manual DATE <hooklinectl.1.in >hooklinectl.1 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/config_value.h"
#include "worker/ctl/ctl.h"

/* --- text that mdoc(7) does not take for requests ------------------------------------------ */

static void put_text(struct buf *b, const char *s, size_t len)
{
    if (len && (*s == '.' || *s == '\''))
        buf_puts(b, "\\&");
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '\\')
            buf_puts(b, "\\e");
        else if (s[i] == '-')
            buf_puts(b, "\\-");
        else
            buf_putc(b, s[i]);
    }
}

/* A line for each sentence, as mdoc wants it. */
static void put_prose(struct buf *b, const char *s, size_t len)
{
    const char *end = s + len, *from = s;
    for (const char *at = s; at + 2 < end; at++) {
        if (!strchr(".?!", at[0]) || at[1] != ' ' || !isupper((unsigned char)at[2]))
            continue;
        put_text(b, from, (size_t)(at + 1 - from));
        buf_putc(b, '\n');
        from = at + 2;
    }
    put_text(b, from, (size_t)(end - from));
    buf_putc(b, '\n');
}

static void put_line(struct buf *b, const char *s)
{
    put_prose(b, s, strlen(s));
}

/* Paragraphs: an empty line is the end of one, an indented one stays as it is. */
static void put_paragraphs(struct buf *b, const char *s)
{
    while (*s) {
        size_t len = strcspn(s, "\n");
        if (len && *s != ' ') {
            put_prose(b, s, len);
        } else if (len) {
            buf_puts(b, ".D1 ");
            while (*s == ' ')
                s++, len--;
            put_text(b, s, len);
            buf_putc(b, '\n');
        } else if (s[1]) {
            buf_puts(b, ".Pp\n");
        }
        s += len + (s[len] == '\n');
    }
}

/* --- verbs --------------------------------------------------------------------------------- */

/* An argument of a macro: quoted, for its words could be macros themselves. */
static void put_argument(struct buf *b, const char *s)
{
    buf_putc(b, '"');
    for (; *s; s++) {
        if (*s == '"')
            buf_puts(b, "\\(dq");
        else if (*s == '\\')
            buf_puts(b, "\\e");
        else
            buf_putc(b, *s);
    }
    buf_putc(b, '"');
}

static void put_option(struct buf *b, const struct ctl_option *o)
{
    bool may = o->value && *o->value == '[';
    buf_printf(b, ".It Fl Fl %s", o->name);
    if (o->value) {
        buf_puts(b, may ? " Ns Oo = Ns Ar " : " Ar ");
        char *value = strdup(may ? o->value + 2 : o->value);
        if (may)
            value[strlen(value) - 1] = '\0';
        put_argument(b, value);
        buf_puts(b, may ? " Oc" : "");
        free(value);
    }
    buf_putc(b, '\n');
    put_line(b, o->help);
}

static bool has_own(const struct ctl_option *o)
{
    for (; o->key; o++)
        if (o->key < CTL_SHARED_KEYS)
            return true;
    return false;
}

static void put_options(struct buf *b, const struct ctl_option *options)
{
    if (!options)
        return;
    if (has_own(options)) {
        buf_puts(b, ".Bl -tag -width Ds\n");
        for (const struct ctl_option *o = options; o->key; o++)
            if (o->key < CTL_SHARED_KEYS)
                put_option(b, o);
        buf_puts(b, ".El\n");
    }
    const char *before = ".Pp\nShared options:\n.Fl Fl ";
    for (const struct ctl_option *o = options; o->key; o++) {
        if (o->key < CTL_SHARED_KEYS)
            continue;
        buf_printf(b, "%s%s", before, o->name);
        before = " ,\n.Fl Fl ";
    }
    if (*before == ' ')
        buf_puts(b, " .\n");
}

static void put_examples(struct buf *b, const char *s)
{
    if (!s)
        return;
    buf_puts(b, ".Pp\n.Bd -literal -offset indent -compact\n");
    for (; *s; s += strcspn(s, "\n") + 1) {
        put_text(b, s, strcspn(s, "\n"));
        buf_putc(b, '\n');
    }
    buf_puts(b, ".Ed\n");
}

static void put_command(struct buf *b, const struct ctl_command *c)
{
    buf_printf(b, ".Ss %s", c->name);
    if (c->words) {
        buf_putc(b, ' ');
        put_text(b, c->words, strlen(c->words));
    }
    buf_putc(b, '\n');
    put_paragraphs(b, c->about);
    put_options(b, c->options);
    put_examples(b, c->examples);
    for (const struct ctl_command *const *a = c->actions; a && *a; a++)
        put_command(b, *a);
}

static void put_commands(struct buf *b)
{
    for (const struct ctl_command *const *c = ctl_commands; *c; c++)
        put_command(b, *c);
}

/* They say the same in all verbs but --limit, whose bounds may be other ones. */
static void put_shared(struct buf *b)
{
    static const struct ctl_option shared[] = {
        CTL_READER_OPTIONS, CTL_WRITER_OPTIONS, CTL_FILTER_OPTIONS, {0}};
    for (const struct ctl_option *o = shared; o->key; o++)
        put_option(b, o);
}

/* --- settings ------------------------------------------------------------------------------ */

static void put_users(struct buf *b, int users)
{
    static const struct {
        int bit;
        const char *page;
    } programs[] = {
        {CFG_PRODUCER, "hookline\\-producer 8"},
        {CFG_WORKER,   "hookline\\-worker 8"  },
        {CFG_CTL,      "hooklinectl 1"        }
    };
    const char *before = "Used by\n.Xr ";
    for (size_t i = 0; i < 3; i++) {
        if (!(users & programs[i].bit))
            continue;
        buf_printf(b, "%s%s", before, programs[i].page);
        before = " ,\n.Xr ";
    }
    buf_puts(b, " .\n");
}

static void put_setting(struct buf *b, const struct config_row *r)
{
    char name[CONFIG_NAME_MAX];
    const char *names = r->names;
    config_next_name(&names, name);
    buf_printf(b, ".It Ev %s\n", name);
    put_line(b, r->help);
    buf_puts(b, "Allowed:\n");
    struct buf allowed = {0};
    config_write_allowed(r, &allowed);
    put_text(b, buf_str(&allowed), allowed.len);
    buf_release(&allowed);
    buf_puts(b, ".\nDefault: ");
    const char *def = r->def ? r->def : "not set";
    put_text(b, def, strlen(def));
    buf_puts(b, ".\n");
    put_users(b, r->users);
    const char *before = "Also named\n.Ev ";
    for (; config_next_name(&names, name); before = " ,\n.Ev ")
        buf_printf(b, "%s%s", before, name);
    if (*before == ' ')
        buf_puts(b, " .\n");
}

static void put_settings(struct buf *b)
{
    for (size_t i = 0; i < config_nrows; i++) { /* the first one is a heading */
        const struct config_row *r = &config_rows[i];
        if (!r->group)
            put_setting(b, r);
        else
            buf_printf(b, "%s.Ss %s\n.Bl -tag -width Ds\n", i ? ".El\n" : "", r->group);
    }
    buf_puts(b, ".El\n");
}

/* --- templates ----------------------------------------------------------------------------- */

static const struct {
    const char *mark;
    void (*put)(struct buf *b);
} parts[] = {
    {"@COMMANDS@", put_commands},
    {"@SHARED@",   put_shared  },
    {"@SETTINGS@", put_settings}
};

static bool put_part(const char *line, struct buf *b)
{
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strncmp(line, parts[i].mark, strlen(parts[i].mark)) != 0)
            continue;
        parts[i].put(b);
        return true;
    }
    return false;
}

static void put_value(char *line, const char *mark, const char *value, struct buf *b)
{
    char *at = strstr(line, mark);
    buf_append(b, line, (size_t)(at - line));
    buf_puts(b, value);
    buf_puts(b, at + strlen(mark));
}

int main(int argc, char **argv)
{
    char line[1024];
    struct buf b = {0};
    if (argc != 2) {
        fputs("usage: manual DATE <TEMPLATE\n", stderr);
        return 64;
    }
    while (fgets(line, sizeof(line), stdin)) {
        if (strstr(line, "@DATE@"))
            put_value(line, "@DATE@", argv[1], &b);
        else if (strstr(line, "@VERSION@"))
            put_value(line, "@VERSION@", HOOKLINE_VERSION, &b);
        else if (!put_part(line, &b))
            buf_puts(&b, line);
    }
    fputs(buf_str(&b), stdout);
    buf_release(&b);
    return fflush(stdout) != 0;
}
