/* The manual pages, --help and the tables of options, verbs and settings say the same. */
#include "tests/support/harness.h"

#include "base/buf.h"
#include "base/mem.h"
#include "worker/ctl/ctl.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(manual, .timeout = 120);

/* --- looking at text --------------------------------------------------------------------- */

/* A whole file; caller frees. */
static char *document(const char *path)
{
    struct buf b = {0};
    FILE *f = fopen(path, "re");
    cr_assert_not_null(f, "%s is not there", path);
    for (size_t n; (n = fread(buf_reserve(&b, 65536), 1, 65536, f)) > 0;)
        b.len += n;
    fclose(f);
    buf_putc(&b, '\0');
    return buf_detach(&b);
}

static char *page(const char *name)
{
    char *path = mem_printf("%s/man/%s", harness_build(), name), *text = document(path);
    free(path);
    /* As it is read: a minus is a minus. */
    for (char *at; (at = strstr(text, "\\-"));)
        memmove(at, at + 1, strlen(at));
    return text;
}

static char *run(const char *program, const char *words, int *code)
{
    char *line = mem_printf("exec %s/%s %s", harness_build(), program, words);
    struct test_proc *p = test_proc_start(
        (const char *const[]){"/bin/sh", "-c", line, NULL}, (const char *const[]){NULL}, -1);
    *code = test_proc_wait(p, 20000);
    free(line);
    return mem_strdup(test_proc_log(p));
}

/* The word at s: letters, digits and what option names have besides. */
static size_t word_length(const char *s)
{
    return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");
}

/* text has the line, with whatever follows its words. */
static bool has_line(const char *text, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = text; (at = strstr(at, line)); at++)
        if ((at == text || at[-1] == '\n') && (at[len] == '\n' || at[len] == ' '))
            return true;
    return false;
}

/* --- commands ---------------------------------------------------------------------------- */

typedef void each_fn(const struct ctl_command *c);

static void each_among(const struct ctl_command *const *among, each_fn *each)
{
    for (; *among; among++) {
        if ((*among)->actions)
            each_among((*among)->actions, each);
        else
            each(*among);
    }
}

static const struct ctl_option *option_named(
    const struct ctl_command *c, const char *name, size_t len)
{
    for (const struct ctl_option *o = c->options; o && o->key; o++)
        if (strlen(o->name) == len && strncmp(o->name, name, len) == 0)
            return o;
    return NULL;
}

static bool is_common(const char *name, size_t len)
{
    return (len == 6 && strncmp(name, "config", 6) == 0) ||
           (len == 4 && strncmp(name, "help", 4) == 0);
}

/* --- what a command's row says ------------------------------------------------------------ */

static void check_row(const struct ctl_command *c)
{
    size_t n = 0;
    cr_expect(c->run, "%s does nothing", c->name);
    cr_expect(c->summary && *c->summary && c->summary[strlen(c->summary) - 1] != '.', "%s: summary",
        c->name);
    cr_expect(
        c->about && *c->about && c->about[strlen(c->about) - 1] == '\n', "%s: about", c->name);
    cr_expect(c->examples && *c->examples, "%s has no example", c->name);
    for (const struct ctl_option *o = c->options; o && o->key; o++, n++) {
        cr_expect(option_named(c, o->name, strlen(o->name)) == o, "%s: --%s is there twice",
            c->name, o->name);
        cr_expect(!is_common(o->name, strlen(o->name)), "%s: --%s is everywhere", c->name, o->name);
        cr_expect(o->help && *o->help, "%s: --%s has no help", c->name, o->name);
    }
    cr_expect(n <= CTL_MAX_OPTIONS, "%s has %zu options", c->name, n);
}

/* The longest line of a text. */
static size_t widest(const char *text)
{
    size_t most = 0;
    for (size_t len; *text; text += len + (text[len] == '\n')) {
        len = strcspn(text, "\n");
        most = len > most ? len : most;
    }
    return most;
}

static void check_width(const struct ctl_command *c)
{
    int code;
    char *words = mem_printf("%s --help", c->name), *help = run("hooklinectl", words, &code);
    cr_expect_leq(widest(c->about), 90, "%s: its text is %zu wide", c->name, widest(c->about));
    cr_expect_leq(widest(help), 100, "%s is %zu wide", words, widest(help));
    free(words);
    free(help);
}

/* "Exits with 2": a code that is one of ours. */
static void check_codes(const struct ctl_command *c)
{
    static const int codes[] = {
        CTL_OK, CTL_ERROR, CTL_NOT_EMPTY, CTL_DISCREPANCY, CTL_USAGE, CTL_UNREACHABLE, CTL_TIMEOUT};
    for (const char *at = c->about; (at = strstr(at, "xits with "));) {
        at += strlen("xits with ");
        bool known = false;
        for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
            known = known || codes[i] == atoi(at);
        cr_expect(known, "%s: no command exits with %d", c->name, atoi(at));
    }
}

/* What an option means must not depend on the verb. */
static void check_shared_meaning(const struct ctl_command *c)
{
    static const struct ctl_option shared[] = {CTL_READER_OPTIONS, CTL_WRITER_OPTIONS, {0}};
    for (const struct ctl_option *s = shared; s->key; s++) {
        const struct ctl_option *o = option_named(c, s->name, strlen(s->name));
        cr_expect(!o || o->key == s->key, "%s has a --%s of its own", c->name, s->name);
    }
}

/* Options in a line of the examples that are this command's. */
static void check_example(const struct ctl_command *c, const char *line, size_t len)
{
    char *start = mem_printf(" %s", c->name), *copy = mem_strndup(line, len);
    const char *at = strstr(copy, "hooklinectl") ? strstr(copy, start) : NULL;
    cr_expect(at || c->name[0] == '\0', "%s: its example is of something else: %s", c->name, copy);
    const char *end = at ? at + strcspn(at, "|;&><") : NULL;
    while (at && (at = strstr(at, " --")) && at < end) {
        at += 3;
        size_t word = word_length(at);
        cr_expect(option_named(c, at, word) || is_common(at, word), "%s has no --%.*s: %s", c->name,
            (int)word, at, copy);
    }
    free(start);
    free(copy);
}

static void check_examples(const struct ctl_command *c)
{
    for (const char *line = c->examples; *line;) {
        size_t len = strcspn(line, "\n");
        check_example(c, line, len);
        line += len + (line[len] == '\n');
    }
}

Test(manual, every_command_explains_itself)
{
    each_among(ctl_commands, check_row);
    each_among(ctl_commands, check_shared_meaning);
    each_among(ctl_commands, check_examples);
    each_among(ctl_commands, check_width);
    each_among(ctl_commands, check_codes);
}

/* --- the documents ------------------------------------------------------------------------- */

static char *doc;

/* What prints JSON says in PROTOCOL.md what its members are: under its own heading, by its name. */
static void check_documented(const struct ctl_command *c)
{
    size_t noun = strcspn(c->name, " ");
    char *heading = mem_printf("\n#### %.*s\n", (int)noun, c->name);
    char *name = mem_printf("`%s", c->name);
    const char *section = strstr(doc, heading);
    cr_expect(section, "PROTOCOL.md has no section of %s", c->name);
    if (section && option_named(c, "json", strlen("json"))) {
        const char *end = strstr(section + 1, "\n#### "), *at = strstr(section, name);
        cr_expect(at && (!end || at < end), "PROTOCOL.md does not say what %s prints", c->name);
    }
    free(heading);
    free(name);
}

/* One of the rows that begin with its verb or noun, "| `dead retry`, `purge` |", has its action. */
static void check_in_readme(const struct ctl_command *c)
{
    size_t noun = strcspn(c->name, " ");
    const char *action = c->name[noun] ? c->name + noun + 1 : c->name;
    char *row = mem_printf("\n| `%.*s", (int)noun, c->name);
    bool there = false;
    for (const char *at = doc; !there && (at = strstr(at, row)); at++) {
        char *names = mem_strndup(at + 2, strcspn(at + 3, "|"));
        there = strstr(names, action);
        free(names);
    }
    cr_expect(there, "README.md has no row of %s", c->name);
    free(row);
}

Test(manual, the_documents_have_every_command)
{
    doc = document("PROTOCOL.md");
    each_among(ctl_commands, check_documented);
    free(doc);
    doc = document("README.md");
    each_among(ctl_commands, check_in_readme);
    free(doc);
}

/* --- help -------------------------------------------------------------------------------- */

static void check_help(const struct ctl_command *c)
{
    int code;
    char *words = mem_printf("%s --help", c->name);
    char *help = run("hooklinectl", words, &code);
    char *usage = mem_printf("Usage: hooklinectl %s [OPTION...]", c->name);

    cr_expect_eq(code, 0, "%s: %d", words, code);
    cr_expect(strncmp(help, usage, strlen(usage)) == 0, "%s: %s", words, help);
    for (const struct ctl_option *o = c->options; o && o->key; o++) {
        char *line = mem_printf("\n  --%s", o->name);
        const char *at = strstr(help, line);
        cr_expect(at && strstr(at, o->help), "%s does not explain --%s", words, o->name);
        free(line);
    }
    for (const char *at = help; (at = strstr(at, "\n  --"));) {
        at += 5;
        size_t len = word_length(at);
        cr_expect(option_named(c, at, len) || is_common(at, len), "%s explains --%.*s", words,
            (int)len, at);
    }
    free(words);
    free(help);
    free(usage);
}

Test(manual, help_and_option_tables_agree)
{
    each_among(ctl_commands, check_help);
}

static char *whole_help;

static void check_listed(const struct ctl_command *c)
{
    char *line = mem_printf("\n  %s", c->name);
    const char *at = strstr(whole_help, line);
    cr_expect(at && strstr(at, c->summary), "%s is not listed", c->name);
    free(line);
}

Test(manual, help_lists_verbs_and_nouns_list_their_actions)
{
    int code;
    whole_help = run("hooklinectl", "--help", &code);
    cr_assert_eq(code, 0);
    for (const struct ctl_command *const *c = ctl_commands; *c; c++)
        check_listed(*c);
    free(whole_help);
    for (const struct ctl_command *const *c = ctl_commands; *c; c++) {
        if (!(*c)->actions)
            continue;
        char *words = mem_printf("%s --help", (*c)->name);
        whole_help = run("hooklinectl", words, &code);
        cr_expect_eq(code, 0);
        each_among((*c)->actions, check_listed);
        free(whole_help);
        free(words);
    }
}

/* --- hooklinectl(1) ------------------------------------------------------------------------ */

static char *ctl_page;

/* Its section: from its heading to the next one. Caller frees. */
static char *section_of(const struct ctl_command *c)
{
    char *heading = mem_printf("\n.Ss %s", c->name);
    char *section = NULL;
    for (const char *at = ctl_page; !section && (at = strstr(at, heading)); at++) {
        const char *end = at + strlen(heading), *next = strstr(end, "\n.S");
        if (*end == '\n' || (*end == ' ' && (!c->words || strstr(end, c->words) == end + 1)))
            section = mem_strndup(end, next ? (size_t)(next - end) : strlen(end));
    }
    free(heading);
    return section;
}

static void check_section(const struct ctl_command *c)
{
    char *section = section_of(c);
    cr_expect(section, "%s is not in the manual", c->name);
    if (!section)
        return;
    for (const struct ctl_option *o = c->options; o && o->key; o++) {
        bool shared = o->key >= CTL_SHARED_KEYS;
        char *line = mem_printf(shared ? ".Fl Fl %s" : ".It Fl Fl %s", o->name);
        cr_expect(has_line(section, line), "%s: --%s is not in the manual", c->name, o->name);
        free(line);
    }
    for (const char *at = section; (at = strstr(at, "Fl Fl "));) {
        at += strlen("Fl Fl ");
        size_t len = word_length(at);
        cr_expect(option_named(c, at, len), "%s: the manual has --%.*s", c->name, (int)len, at);
    }
    free(section);
}

Test(manual, the_page_of_hooklinectl_and_option_tables_agree)
{
    ctl_page = page("hooklinectl.1");
    each_among(ctl_commands, check_section);
    const char *at = strstr(ctl_page, ".Sh VERBS");
    const char *end = strstr(at, ".Sh ENVIRONMENT");
    for (int n = 0; (at = strstr(at, "\n.Ss ")) && at < end; n++) {
        at += strlen("\n.Ss ");
        size_t word = word_length(at);
        char *name = mem_strndup(at, word);
        cr_expect(ctl_find(ctl_commands, name), "the manual has a verb '%s'", name);
        free(name);
    }
    free(ctl_page);
}

/* --- the daemons and the settings ---------------------------------------------------------- */

static const char *const programs[] = {"hookline-producer", "hookline-worker", "hooklinectl"};

/* Calls each with every word of text that begins with `start`, and is of these characters. */
static void each_word(const char *text, const char *start, const char *characters,
    void (*each)(const char *word, const char *other, const char *where), const char *other,
    const char *where)
{
    for (const char *at = text; (at = strstr(at, start));) {
        size_t len = strspn(at, characters);
        char *word = mem_strndup(at, len);
        if (strcmp(word, "SIGNALS") != 0) /* a heading */
            each(word, other, where);
        free(word);
        at += len ? len : 1;
    }
}

static void expect_in(const char *word, const char *other, const char *where)
{
    cr_expect(strstr(other, word), "%s is not in %s", word, where);
}

Test(manual, the_pages_of_the_daemons_name_their_options_and_signals)
{
    static const char capitals[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    for (int i = 0; i < 2; i++) {
        int code;
        char *name = mem_printf("%s.8", programs[i]);
        char *help = run(programs[i], "--help", &code), *man = page(name);
        cr_assert_eq(code, 0);
        *strstr(help, "\nSettings") = '\0';
        each_word(help, "SIG", capitals, expect_in, man, name);
        each_word(man, "SIG", capitals, expect_in, help, "--help");
        for (const char *at = help; (at = strstr(at, "--"));) {
            at += 2;
            char *line = mem_printf(".It Fl Fl %.*s", (int)word_length(at), at);
            cr_expect(has_line(man, line), "%s: '%s' is missing", name, line);
            free(line);
        }
        free(name);
        free(help);
        free(man);
    }
}

Test(manual, the_page_of_the_settings_and_help_agree)
{
    static const char characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    char *man = page("hookline.conf.5");
    struct buf all = {0};
    for (int i = 0; i < 3; i++) {
        int code;
        char *help = run(programs[i], "--help", &code);
        const char *settings = strstr(help, "Settings");
        cr_assert(code == 0 && settings);
        for (const char *at = settings; (at = strstr(at, "\n  "));) {
            at += 3;
            if (strncmp(at, "WEBHOOK_", 8) != 0 && strncmp(at, "OTEL_", 5) != 0)
                continue;
            char *line = mem_printf(".It Ev %.*s", (int)strspn(at, characters), at);
            cr_expect(has_line(man, line), "'%s' is missing", line);
            buf_printf(&all, "%s\n", line);
            free(line);
        }
        free(help);
    }
    for (const char *at = man; (at = strstr(at, "\n.It Ev "));) {
        at++;
        char *line = mem_strndup(at, strcspn(at, "\n"));
        cr_expect(has_line(buf_str(&all), line), "no program has '%s'", line);
        free(line);
    }
    buf_release(&all);
    free(man);
}

Test(manual, the_pages_are_well_formed)
{
    static const char *const pages[] = {
        "hooklinectl.1", "hookline-producer.8", "hookline-worker.8", "hookline.conf.5"};
    for (int i = 0; i < 4; i++) {
        char *path = mem_printf("%s/man/%s", harness_build(), pages[i]);
        struct test_proc *p = test_proc_start(
            (const char *const[]){"/usr/bin/env", "mandoc", "-Tlint", "-Wwarning", path, NULL},
            (const char *const[]){"PATH=/usr/bin:/bin", NULL}, -1);
        cr_expect_eq(test_proc_wait(p, 20000), 0, "%s", test_proc_log(p));
        free(path);
    }
}
