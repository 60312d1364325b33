/* config: see config.h. Owns how text becomes a setting and back; what settings there are is the
 * table's business. */
#include "base/config.h"

#include "base/config_table.h"
#include "base/envfile.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/url.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define SECRET_FILE_MAX 65536 /* bytes of a NAME_FILE file */
#define SECRET_MIN      32    /* characters, outside test mode */
#define NAME_MAX_LEN    80

/* --- durations, sizes, numbers ------------------------------------------------------------- */

struct unit {
    const char *suffix;
    int64_t factor;
};

/* Largest first, for writing. */
static const struct unit time_units[] = {
    {"h",  MS_HOUR  },
    {"m",  MS_MINUTE},
    {"s",  MS_SECOND},
    {"ms", 1        },
    {"",   MS_SECOND},
    {NULL, 0        },
};
static const struct unit size_units[] = {
    {"g",  GIB},
    {"m",  MIB},
    {"k",  KIB},
    {"",   1  },
    {NULL, 0  },
};
static const struct unit no_units[] = {
    {"",   1},
    {NULL, 0},
};

/* Digits and one of the units, nothing else. */
static bool read_units(const char *s, const struct unit *units, int64_t *out)
{
    size_t digits = strspn(s, "0123456789");
    if (digits == 0 || digits > 18)
        return false;
    int64_t n = strtoll(s, NULL, 10);
    for (; units->suffix; units++)
        if (strcasecmp(s + digits, units->suffix) == 0)
            return !__builtin_mul_overflow(n, units->factor, out);
    return false;
}

static void write_units(int64_t v, const struct unit *units, struct buf *out)
{
    while (units[1].suffix && (v == 0 || v % units->factor != 0))
        units++;
    buf_printf(out, "%lld%s", (long long)(v / units->factor), units->suffix);
}

bool config_duration(const char *s, int64_t *ms)
{
    return read_units(s, time_units, ms);
}

bool config_size(const char *s, int64_t *bytes)
{
    return read_units(s, size_units, bytes);
}

/* --- kinds ---------------------------------------------------------------------------------- */

struct word {
    const char *word;
    int64_t value; /* the first word of a value is the one we write */
};

struct kind {
    const char *noun; /* what is allowed, in words, for numbers and texts */
    enum { SHOWN, SHOWN_AS_URL, HIDDEN } show;
    bool zero_is_off;         /* 0 is allowed below min */
    const struct unit *units; /* a number */
    const struct word *words; /* one of these */
    /* A text: what is wrong with it, or NULL. Its length was checked before. */
    const char *(*check)(const struct config *cfg, const char *text);
};

static bool starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static const char *check_key_prefix(const struct config *cfg, const char *text)
{
    (void)cfg;
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_.:-", *p))
            return "holds other characters";
    return NULL;
}

static const char *check_redis_url(const struct config *cfg, const char *text)
{
    (void)cfg;
    if (starts(text, "rediss://"))
        return "asks for TLS, which is left to a proxy such as stunnel";
    return starts(text, "redis://") || starts(text, "unix://") ? NULL : "has another form";
}

static const char *check_database_url(const struct config *cfg, const char *text)
{
    (void)cfg;
    return starts(text, "postgresql://") || starts(text, "postgres://") ? NULL : "has another form";
}

static const char *check_web_url(const struct config *cfg, const char *text)
{
    (void)cfg;
    return url_is_web(text) ? NULL : "has another form";
}

/* Reference contract section 6, "Secret rules". */
static const char *check_secret(const struct config *cfg, const char *text)
{
    static const char *const published[] = {"dev-unsafe-api-secret-change-in-production",
        "dev-unsafe-hmac-secret-change-in-production", "your-api-key-here", "changeme", "secret"};
    if (isspace((unsigned char)text[0]) || isspace((unsigned char)text[strlen(text) - 1]))
        return "begins or ends with a blank";
    if (cfg->test_mode)
        return NULL;
    for (size_t i = 0; i < sizeof(published) / sizeof(*published); i++)
        if (strcmp(text, published[i]) == 0)
            return "is a published example; make one with: openssl rand -hex 32";
    if (text_chars(text) < SECRET_MIN)
        return "is too short to be safe; make one with: openssl rand -hex 32";
    return NULL;
}

/* clang-format off */
#define BOOL_WORDS                                                                                 \
    {"true", 1}, {"false", 0}, {"1", 1}, {"0", 0}, {"yes", 1}, {"no", 0}, {"on", 1}, {"off", 0},   \
    {"t", 1}, {"f", 0}, {"y", 1}, {"n", 0}, {NULL, 0}
static const struct word bool_words[] = {BOOL_WORDS};
static const struct word on_off_words[] = {{"on", 1}, {"off", 0}, BOOL_WORDS};
static const struct word level_words[] = {
    {"debug", LOG_DEBUG}, {"info", LOG_INFO}, {"warn", LOG_WARN}, {"error", LOG_ERROR},
    {"warning", LOG_WARN}, {"critical", LOG_ERROR}, {NULL, 0}};
static const struct word format_words[] = {
    {"auto", LOG_AUTO}, {"text", LOG_TEXT}, {"json", LOG_JSON}, {NULL, 0}};
static const struct word ack_words[] = {{"both", ACK_BOTH}, {"queue", ACK_QUEUE}, {NULL, 0}};
static const struct word scraper_words[] = {
    {"firecrawl", SCRAPER_FIRECRAWL}, {"direct", SCRAPER_DIRECT}, {NULL, 0}};
static const struct word index_words[] = {
    {"postgres", INDEX_POSTGRES}, {"none", INDEX_NONE}, {NULL, 0}};

static const struct kind kind_number = {.noun = "a whole number", .units = no_units};
static const struct kind kind_time = {.noun = "a duration (ms, s, m, h; s if bare)", .units = time_units};
static const struct kind kind_time_or_off = {
    .noun = "0 (off) or a duration (ms, s, m, h; s if bare)", .units = time_units, .zero_is_off = true};
static const struct kind kind_size = {.noun = "a size (k, m, g; bytes if bare)", .units = size_units};
static const struct kind kind_bool = {.words = bool_words};
static const struct kind kind_on_off = {.words = on_off_words};
static const struct kind kind_log_level = {.words = level_words};
static const struct kind kind_log_format = {.words = format_words};
static const struct kind kind_ack = {.words = ack_words};
static const struct kind kind_scraper = {.words = scraper_words};
static const struct kind kind_index = {.words = index_words};
static const struct kind kind_text = {.noun = "a text"};
static const struct kind kind_key_prefix = {
    .noun = "letters, digits and _ . : -", .check = check_key_prefix};
static const struct kind kind_api_key = {.noun = "a key", .show = HIDDEN};
static const struct kind kind_secret = {
    .noun = "a secret with no blank at either end, outside test mode of 32 characters or more", .show = HIDDEN,
    .check = check_secret};
static const struct kind kind_redis_url = {
    .noun = "redis://[user][:password]@host[:port][/db] or unix:///path", .show = SHOWN_AS_URL,
    .check = check_redis_url};
static const struct kind kind_database_url = {
    .noun = "postgresql://user[:password]@host[:port]/database", .show = SHOWN_AS_URL,
    .check = check_database_url};
static const struct kind kind_web_url = {
    .noun = "http:// or https://, and a host", .show = SHOWN_AS_URL, .check = check_web_url};
/* clang-format on */

/* --- the table ------------------------------------------------------------------------------ */

enum type { TYPE_TEXT, TYPE_NUMBER, TYPE_BOOL };

#define TYPE_OF(field)                                                                             \
    _Generic(((struct config *)0)->field, char * : TYPE_TEXT, int64_t : TYPE_NUMBER, bool          \
             : TYPE_BOOL)

struct row {
    const char *group; /* a heading: the rest is empty, and no program uses it */
    size_t offset;
    enum type type;
    const struct kind *kind;
    const char *names, *def;
    int64_t min, max;
    int users;
    const char *help;
};

#define GROUP_ROW(title) {.group = (title)},
#define SETTING_ROW(f, k, names_, def_, min_, max_, users_, help_)                                 \
    {.offset = offsetof(struct config, f),                                                         \
        .type = TYPE_OF(f),                                                                        \
        .kind = &kind_##k,                                                                         \
        .names = (names_),                                                                         \
        .def = (def_),                                                                             \
        .min = (min_),                                                                             \
        .max = (max_),                                                                             \
        .users = (users_),                                                                         \
        .help = (help_)},
static const struct row rows[] = {CONFIG_TABLE(GROUP_ROW, SETTING_ROW)};
#define NROWS (sizeof(rows) / sizeof(*rows))

/* The next of names separated by blanks, into name; false after the last. */
static bool next_name(const char **names, char name[NAME_MAX_LEN])
{
    *names += strspn(*names, " ");
    size_t len = strcspn(*names, " ");
    if (len == 0 || len >= NAME_MAX_LEN)
        return false;
    memcpy(name, *names, len);
    name[len] = '\0';
    *names += len;
    return true;
}

static const char *first_name(const struct row *r, char name[NAME_MAX_LEN])
{
    const char *names = r->names;
    name[0] = '\0';
    next_name(&names, name);
    return name;
}

static char **text_at(const struct config *cfg, const struct row *r)
{
    return (char **)((char *)(uintptr_t)cfg + r->offset);
}

static int64_t number_at(const struct config *cfg, const struct row *r)
{
    const char *at = (const char *)cfg + r->offset;
    return r->type == TYPE_BOOL ? *(const bool *)at : *(const int64_t *)(const void *)at;
}

/* --- writing values ------------------------------------------------------------------------- */

static void write_number(const struct kind *k, int64_t v, struct buf *out)
{
    if (k->units) {
        write_units(v, k->units, out);
        return;
    }
    for (const struct word *w = k->words; w->word; w++) {
        if (w->value == v) {
            buf_puts(out, w->word);
            return;
        }
    }
}

static void write_words(const struct word *words, struct buf *out)
{
    unsigned seen = 0; /* bit per value: only its first word is listed */
    for (const struct word *w = words; w->word; w++) {
        if (seen & 1U << w->value)
            continue;
        buf_printf(out, "%s%s", seen ? ", " : "one of ", w->word);
        seen |= 1U << w->value;
    }
}

static void write_allowed(const struct row *r, struct buf *out)
{
    const struct kind *k = r->kind;
    if (k->words) {
        write_words(k->words, out);
    } else if (k->units) {
        buf_printf(out, "%s from ", k->noun);
        write_units(r->min, k->units, out);
        buf_puts(out, " to ");
        write_units(r->max, k->units, out);
    } else {
        buf_printf(
            out, "%s; %lld to %lld characters", k->noun, (long long)r->min, (long long)r->max);
    }
}

/* --- reading values: each returns what is wrong with the text, or NULL ----------------------- */

static const char *read_text(struct config *cfg, const struct row *r, const char *text)
{
    if (!text_utf8_valid(text, strlen(text)))
        return "is not valid UTF-8";
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return "holds a control character, such as a line end";
    int64_t chars = (int64_t)text_chars(text);
    if (chars == 0 && r->min > 0)
        return "is empty";
    if (chars < r->min)
        return "is too short";
    if (chars > r->max)
        return "is too long";
    const char *wrong = r->kind->check ? r->kind->check(cfg, text) : NULL;
    if (!wrong)
        *text_at(cfg, r) = mem_strdup(text);
    return wrong;
}

static bool read_word(const struct word *words, const char *text, int64_t *out)
{
    for (; words->word; words++) {
        if (strcasecmp(words->word, text) == 0) {
            *out = words->value;
            return true;
        }
    }
    return false;
}

static const char *read_number(const struct row *r, const char *text, int64_t *out)
{
    const struct kind *k = r->kind;
    if (*text == '\0')
        return "is empty";
    if (k->words)
        return read_word(k->words, text, out) ? NULL : "is not one of the words";
    if (!read_units(text, k->units, out))
        return "is malformed";
    if (*out == 0 && k->zero_is_off)
        return NULL;
    return *out < r->min || *out > r->max ? "is out of range" : NULL;
}

static const char *read_trimmed(struct config *cfg, const struct row *r, const char *text)
{
    text += strspn(text, " \t\r\n");
    size_t len = strlen(text);
    while (len > 0 && strchr(" \t\r\n", text[len - 1]))
        len--;
    char *copy = mem_strndup(text, len);
    int64_t v;
    const char *wrong = read_number(r, copy, &v);
    free(copy);
    if (wrong)
        return wrong;
    char *at = (char *)cfg + r->offset;
    if (r->type == TYPE_BOOL)
        *(bool *)at = v != 0;
    else
        *(int64_t *)(void *)at = v;
    return NULL;
}

/* SQLAlchemy's "postgresql+asyncpg://" becomes "postgresql://"; other texts stay as they are. */
static char *without_driver(const char *url)
{
    size_t scheme = strspn(url, "abcdefghijklmnopqrstuvwxyz");
    size_t driver = url[scheme] == '+' ? strcspn(url + scheme, ":") : 0;
    if (!starts(url + scheme + driver, "://"))
        driver = 0;
    return mem_printf("%.*s%s", (int)scheme, url, url + scheme + driver);
}

static const char *read_value(struct config *cfg, const struct row *r, const char *text)
{
    if (r->type != TYPE_TEXT)
        return read_trimmed(cfg, r, text);
    if (r->kind != &kind_database_url)
        return read_text(cfg, r, text);
    char *url = without_driver(text);
    const char *wrong = read_text(cfg, r, url);
    free(url);
    return wrong;
}

/* --- where values come from ------------------------------------------------------------------ */

struct source {
    const char *label;
    struct env_vars vars;
};

enum { SOURCE_ENV, SOURCE_FILE, SOURCE_DOTENV, NSOURCES };

static void take_environ(struct env_vars *vars, char **env)
{
    for (; env && *env; env++) {
        const char *eq = strchr(*env, '=');
        if (eq)
            env_vars_add(vars, *env, (size_t)(eq - *env), eq + 1, 0);
    }
}

/* A .env that is not there, or is a folder (a Python environment), is no fault. */
static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* The last of that name counts, one spelled exactly like it first. */
static const struct env_var *find_var(const struct env_vars *vars, const char *name)
{
    const struct env_var *found = NULL;
    for (size_t i = 0; i < vars->len; i++) {
        const struct env_var *v = &vars->list[i];
        if (strcasecmp(v->name, name) != 0)
            continue;
        if (!found || strcmp(found->name, name) != 0 || strcmp(v->name, name) == 0)
            found = v;
    }
    return found;
}

static char *origin_of(const struct source *src, const struct env_var *v)
{
    if (v->line == 0)
        return mem_printf("%s in %s", v->name, src->label);
    return mem_printf("%s in %s line %d", v->name, src->label, v->line);
}

/* What was found for a row. Faulty: a fault was reported, there is no value. */
struct finding {
    char *text;
    char *origin;
    bool faulty;
};

/* The path is not told: often enough it is the secret itself, put into the wrong variable. */
static void read_twin(struct finding *f, const char *path, struct buf *faults)
{
    struct buf text = {0};
    struct hl_err err;
    if (envfile_read(path, SECRET_FILE_MAX, &text, &err) != HL_OK) {
        buf_printf(faults, "%s: the file %s\n", f->origin, err.msg);
        f->faulty = true;
        buf_release(&text);
        return;
    }
    while (text.len > 0 && strchr("\r\n", text.data[text.len - 1]))
        text.data[--text.len] = '\0'; /* editors and echo end a file with a line end */
    f->text = buf_detach(&text);
}

/* True when the source has a variable of that name or its twin. */
static bool find_name(
    const struct source *src, const char *name, struct finding *f, struct buf *faults)
{
    char twin_name[NAME_MAX_LEN + sizeof("_FILE")];
    snprintf(twin_name, sizeof(twin_name), "%s_FILE", name);
    const struct env_var *v = find_var(&src->vars, name);
    const struct env_var *twin = find_var(&src->vars, twin_name);
    if (!v && !twin)
        return false;
    f->origin = origin_of(src, v ? v : twin);
    if (v && twin) {
        buf_printf(faults, "%s: %s is given too; keep one of the two\n", f->origin, twin->name);
        f->faulty = true;
    } else if (v) {
        f->text = mem_strdup(v->value);
    } else {
        read_twin(f, twin->value, faults);
    }
    return true;
}

static struct finding find_value(
    const struct source *sources, const struct row *r, struct buf *faults)
{
    struct finding f = {0};
    for (int i = 0; i < NSOURCES; i++) {
        const char *names = r->names;
        char name[NAME_MAX_LEN];
        while (next_name(&names, name))
            if (find_name(&sources[i], name, &f, faults))
                return f;
    }
    return f;
}

/* --- loading --------------------------------------------------------------------------------- */

static void report(const struct row *r, const char *origin, const char *text, const char *wrong,
    struct buf *faults)
{
    buf_printf(faults, "%s: ", origin);
    if (r->kind->show == SHOWN && *text) {
        buf_putc(faults, '"');
        text_one_line(text, 60, faults);
        buf_puts(faults, "\" ");
    }
    buf_printf(faults, "%s; allowed: ", wrong);
    write_allowed(r, faults);
    buf_putc(faults, '\n');
}

static void report_missing(const struct row *r, struct buf *faults)
{
    char name[NAME_MAX_LEN];
    first_name(r, name);
    buf_printf(faults, "%s: is needed, set it or %s_FILE; allowed: ", name, name);
    write_allowed(r, faults);
    buf_putc(faults, '\n');
}

/* The row's origin stays NULL when the row is not set or faulty. */
static void load_row(struct config *cfg, const struct row *r, int program,
    const struct source *sources, struct buf *faults)
{
    char **origin = &cfg->origins[r - rows];
    struct finding f = {0};
    if (r->users & program)
        f = find_value(sources, r, faults);
    if (f.text) {
        const char *wrong = read_value(cfg, r, f.text);
        if (wrong)
            report(r, f.origin, f.text, wrong, faults);
        else
            *origin = mem_strdup(f.origin);
    } else if (!f.faulty && r->def) {
        read_value(cfg, r, r->def);
        *origin = mem_strdup("default");
    } else if (!f.faulty && r->users & NEEDED_BY(program)) {
        report_missing(r, faults);
    }
    free(f.text);
    free(f.origin);
}

/* Settings that bound each other: less * times must stay below more, or may just reach it. */
static const struct relation {
    size_t less, more;
    int times;
    bool may_equal;
} relations[] = {
    {offsetof(struct config, retry_base_ms),     offsetof(struct config, retry_max_ms),   1, true },
    {offsetof(struct config, scrape_timeout_ms), offsetof(struct config, job_timeout_ms), 1, false},
    {offsetof(struct config, lease_ms),          offsetof(struct config, job_timeout_ms), 2, false},
};

static const struct row *row_at(size_t offset)
{
    const struct row *r = rows;
    while (!r->kind || r->offset != offset)
        r++;
    return r;
}

static void check_relation(
    const struct config *cfg, int program, const struct relation *rel, struct buf *faults)
{
    const struct row *less = row_at(rel->less), *more = row_at(rel->more);
    if (!(less->users & more->users & program))
        return;
    if (!cfg->origins[less - rows] || !cfg->origins[more - rows])
        return; /* already reported */
    int64_t floor = number_at(cfg, less) * rel->times;
    int64_t value = number_at(cfg, more);
    if (value > floor || (rel->may_equal && value == floor))
        return;
    char name[NAME_MAX_LEN];
    buf_printf(faults, "%s: ", first_name(more, name));
    write_number(more->kind, value, faults);
    buf_printf(faults, " is too short; allowed: %s %s%s (",
        rel->may_equal ? "at least" : "more than", rel->times == 2 ? "twice " : "",
        first_name(less, name));
    write_number(less->kind, number_at(cfg, less), faults);
    buf_puts(faults, ")\n");
}

static void load_all(
    struct config *cfg, int program, const struct source *sources, struct buf *faults)
{
    cfg->origins = mem_array(NROWS, sizeof(*cfg->origins));
    for (size_t i = 0; i < NROWS; i++)
        if (rows[i].kind)
            load_row(cfg, &rows[i], program, sources, faults);
    for (size_t i = 0; i < sizeof(relations) / sizeof(*relations); i++)
        check_relation(cfg, program, &relations[i], faults);
}

enum hl_rc config_load(
    struct config *cfg, int program, const char *config_file, char **env, struct buf *faults)
{
    struct source sources[NSOURCES] = {
        [SOURCE_ENV] = {.label = "the environment"},
        [SOURCE_FILE] = {.label = config_file},
        [SOURCE_DOTENV] = {.label = ".env"},
    };
    size_t before = faults->len;
    *cfg = (struct config){0};
    take_environ(&sources[SOURCE_ENV].vars, env);
    if (config_file)
        envfile_load(&sources[SOURCE_FILE].vars, config_file, faults);
    if (is_file(".env"))
        envfile_load(&sources[SOURCE_DOTENV].vars, ".env", faults);
    load_all(cfg, program, sources, faults);
    for (int i = 0; i < NSOURCES; i++)
        env_vars_release(&sources[i].vars);
    if (faults->len == before)
        return HL_OK;
    config_release(cfg);
    return HL_FATAL;
}

void config_release(struct config *cfg)
{
    for (size_t i = 0; i < NROWS; i++) {
        if (rows[i].kind && rows[i].type == TYPE_TEXT)
            free(*text_at(cfg, &rows[i]));
        if (cfg->origins)
            free(cfg->origins[i]);
    }
    free(cfg->origins);
    *cfg = (struct config){0};
}

/* --- the command line ------------------------------------------------------------------------ */

static bool is_flag(const char *arg, const char *longer, const char *shorter)
{
    return strcmp(arg, longer) == 0 || (shorter && strcmp(arg, shorter) == 0);
}

enum hl_rc config_args(int argc, char **argv, struct config_args *args, struct hl_err *err)
{
    struct config_args got = {0};
    int i = 1;
    for (; i < argc; i++) {
        if (is_flag(argv[i], "--help", "-h"))
            got.help = true;
        else if (is_flag(argv[i], "--version", "-V"))
            got.version = true;
        else if (is_flag(argv[i], "--print-config", NULL))
            got.print_config = true;
        else if (starts(argv[i], "--config="))
            got.config_file = argv[i] + strlen("--config=");
        else if (is_flag(argv[i], "--config", NULL))
            got.config_file = i + 1 < argc ? argv[++i] : "";
        else
            break;
        if (got.config_file && !*got.config_file)
            return hl_fail(err, HL_FATAL, "--config needs the name of a file");
    }
    got.rest = i < argc ? i : argc;
    *args = got;
    return HL_OK;
}

/* --- help, print, sample --------------------------------------------------------------------- */

static void write_aliases(const struct row *r, const char *before, struct buf *out)
{
    const char *names = r->names;
    char name[NAME_MAX_LEN];
    next_name(&names, name);
    for (; next_name(&names, name); before = ", ")
        buf_printf(out, "%s%s", before, name);
}

void config_help(int program, struct buf *out)
{
    char name[NAME_MAX_LEN];
    for (size_t i = 0; i < NROWS; i++) {
        const struct row *r = &rows[i];
        if (!(r->users & program))
            continue;
        buf_printf(out, "  %s", first_name(r, name));
        write_aliases(r, ", ", out);
        buf_printf(out, "\n      %s\n      Allowed: ", r->help);
        write_allowed(r, out);
        buf_puts(out, "\n      Default: ");
        if (r->def)
            buf_puts(out, r->def);
        else
            buf_puts(out, r->users & NEEDED_BY(program) ? "none, it is needed" : "not set");
        buf_putc(out, '\n');
    }
}

/* As in a file: quoted when it must be. */
static void write_quoted(const char *s, struct buf *out)
{
    if (!s[strcspn(s, " \t#\"'\\$`;")]) {
        buf_puts(out, s);
        return;
    }
    buf_putc(out, '"');
    for (; *s; s++) {
        if (strchr("\"\\$`", *s))
            buf_putc(out, '\\');
        buf_putc(out, *s);
    }
    buf_putc(out, '"');
}

static void write_value(const struct config *cfg, const struct row *r, struct buf *out)
{
    if (r->type != TYPE_TEXT) {
        write_number(r->kind, number_at(cfg, r), out);
        return;
    }
    const char *text = *text_at(cfg, r);
    struct buf shown = {0};
    if (r->kind->show == HIDDEN && *text)
        buf_puts(&shown, "***");
    else if (r->kind->show == SHOWN_AS_URL)
        url_mask(text, &shown);
    else
        buf_puts(&shown, text);
    write_quoted(buf_str(&shown), out);
    buf_release(&shown);
}

void config_print(const struct config *cfg, int program, struct buf *out)
{
    char name[NAME_MAX_LEN];
    for (size_t i = 0; i < NROWS; i++) {
        const struct row *r = &rows[i];
        if (!(r->users & program))
            continue;
        first_name(r, name);
        if (!cfg->origins[i]) {
            buf_printf(out, "#%s= # not set\n", name);
            continue;
        }
        buf_printf(out, "%s=", name);
        write_value(cfg, r, out);
        buf_printf(out, " # %s\n", cfg->origins[i]);
    }
}

static void write_users(int users, struct buf *out)
{
    static const char *const programs[] = {"producer", "worker", "hooklinectl"};
    const char *before = "";
    for (int i = 0; i < 3; i++) {
        if (!(users & 1 << i))
            continue;
        buf_printf(out, "%s%s", before, programs[i]);
        if (users & NEEDED_BY(1 << i))
            buf_puts(out, " (needed)");
        before = ", ";
    }
}

void config_sample(struct buf *out)
{
    char name[NAME_MAX_LEN];
    buf_puts(out,
        "# Hookline's settings, each with its default. For --config FILE, for systemd's\n"
        "# EnvironmentFile=, or as .env in the working directory. The environment wins over\n"
        "# all of them. NAME_FILE in place of NAME gives a file that holds the value.\n");
    for (size_t i = 0; i < NROWS; i++) {
        const struct row *r = &rows[i];
        if (r->group) {
            buf_printf(out, "\n# --- %s ---\n", r->group);
            continue;
        }
        buf_printf(out, "\n# %s\n# Allowed: ", r->help);
        write_allowed(r, out);
        buf_puts(out, "\n# Used by: ");
        write_users(r->users, out);
        write_aliases(r, "\n# Also named: ", out);
        buf_printf(out, "\n#%s=", first_name(r, name));
        write_quoted(r->def ? r->def : "", out);
        buf_putc(out, '\n');
    }
}
