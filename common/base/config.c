/* config: see config.h. Owns where values come from and what is reported; which settings there are
 * is the table's business, how their values are written config_value's. */
#include "base/config.h"

#include "base/config_table.h"
#include "base/config_value.h"
#include "base/envfile.h"
#include "base/mem.h"
#include "base/text.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define SECRET_FILE_MAX 65536 /* bytes of a NAME_FILE file */

/* --- where values come from -------------------------------------------------------------- */

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
    char twin_name[CONFIG_NAME_MAX + sizeof("_FILE")];
    snprintf(twin_name, sizeof(twin_name), "%s_FILE", name);
    const struct env_var *v = find_var(&src->vars, name);
    const struct env_var *twin = find_var(&src->vars, twin_name);
    const struct env_var *given = v ? v : twin;
    if (!given)
        return false;
    f->origin = origin_of(src, given);
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
    const struct source *sources, const struct config_row *r, struct buf *faults)
{
    struct finding f = {0};
    for (int i = 0; i < NSOURCES; i++) {
        const char *names = r->names;
        char name[CONFIG_NAME_MAX];
        while (config_next_name(&names, name))
            if (find_name(&sources[i], name, &f, faults))
                return f;
    }
    return f;
}

/* --- loading ----------------------------------------------------------------------------- */

static void report(const struct config_row *r, const char *origin, const char *text,
    const char *wrong, struct buf *faults)
{
    buf_printf(faults, "%s: ", origin);
    if (r->kind->show == CONFIG_SHOWN && *text) {
        buf_putc(faults, '"');
        text_one_line(text, 60, faults);
        buf_puts(faults, "\" ");
    }
    buf_printf(faults, "%s; allowed: ", wrong);
    config_write_allowed(r, faults);
    buf_putc(faults, '\n');
}

static void report_missing(const struct config_row *r, struct buf *faults)
{
    char name[CONFIG_NAME_MAX];
    config_first_name(r, name);
    buf_printf(faults, "%s: is needed, set it or %s_FILE; allowed: ", name, name);
    config_write_allowed(r, faults);
    buf_putc(faults, '\n');
}

/* The row's origin stays NULL when the row is not set or faulty. */
static void load_row(struct config *cfg, const struct config_row *r, int program,
    const struct source *sources, struct buf *faults)
{
    char **origin = &cfg->origins[r - config_rows];
    struct finding f = {0};
    if (r->users & program)
        f = find_value(sources, r, faults);
    if (f.text) {
        const char *wrong = config_read(cfg, r, f.text);
        if (wrong)
            report(r, f.origin, f.text, wrong, faults);
        else
            *origin = mem_strdup(f.origin);
    } else if (!f.faulty && r->def) {
        config_read(cfg, r, r->def);
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

static const struct config_row *row_at(size_t offset)
{
    const struct config_row *r = config_rows;
    while (!r->kind || r->offset != offset)
        r++;
    return r;
}

static void check_relation(
    const struct config *cfg, int program, const struct relation *rel, struct buf *faults)
{
    const struct config_row *less = row_at(rel->less), *more = row_at(rel->more);
    if (!(less->users & more->users & program))
        return;
    if (!cfg->origins[less - config_rows] || !cfg->origins[more - config_rows])
        return; /* already reported */
    int64_t floor = config_number(cfg, less) * rel->times;
    int64_t value = config_number(cfg, more);
    if (value > floor || (rel->may_equal && value == floor))
        return;
    char name[CONFIG_NAME_MAX];
    buf_printf(faults, "%s: ", config_first_name(more, name));
    config_write_number(more->kind, value, faults);
    buf_printf(faults, " is too short; allowed: %s %s%s (",
        rel->may_equal ? "at least" : "more than", rel->times == 2 ? "twice " : "",
        config_first_name(less, name));
    config_write_number(less->kind, config_number(cfg, less), faults);
    buf_puts(faults, ")\n");
}

/* Whoever is given the one to look could change everything. */
static void check_readers(const struct config *cfg, struct buf *faults)
{
    const char *all = cfg->api_secret, *look = cfg->api_secret_readonly;
    if (all && look && strcmp(all, look) == 0)
        buf_puts(faults,
            "WEBHOOK_API_SECRET_READONLY: is the same as WEBHOOK_API_SECRET, which may "
            "change things; make another one with: openssl rand -hex 32\n");
}

static void load_all(
    struct config *cfg, int program, const struct source *sources, struct buf *faults)
{
    cfg->origins = mem_array(config_nrows, sizeof(*cfg->origins));
    for (size_t i = 0; i < config_nrows; i++)
        if (config_rows[i].kind)
            load_row(cfg, &config_rows[i], program, sources, faults);
    for (size_t i = 0; i < sizeof(relations) / sizeof(*relations); i++)
        check_relation(cfg, program, &relations[i], faults);
    check_readers(cfg, faults);
}

/* Whether there are no new faults. */
static bool load(
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
    return faults->len == before;
}

enum hl_rc config_load(
    struct config *cfg, int program, const char *config_file, char **env, struct buf *faults)
{
    if (load(cfg, program, config_file, env, faults))
        return HL_OK;
    config_release(cfg);
    return HL_FATAL;
}

enum hl_rc config_look(
    struct config *cfg, int program, const char *config_file, char **env, struct buf *faults)
{
    bool fine = load(cfg, program, config_file, env, faults);
    for (size_t i = 0; i < config_nrows; i++) {
        const struct config_row *r = &config_rows[i];
        if (!r->kind || cfg->origins[i] || !r->def)
            continue;
        config_read(cfg, r, r->def);
        cfg->origins[i] = mem_strdup("default, for what is given is faulty");
    }
    return fine ? HL_OK : HL_FATAL;
}

void config_release(struct config *cfg)
{
    for (size_t i = 0; i < config_nrows; i++) {
        if (config_rows[i].kind && config_rows[i].type == CONFIG_TEXT)
            free(*config_text(cfg, &config_rows[i]));
        if (cfg->origins)
            free(cfg->origins[i]);
    }
    free(cfg->origins);
    *cfg = (struct config){0};
}

/* --- the command line -------------------------------------------------------------------- */

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
        else if (strncmp(argv[i], "--config=", strlen("--config=")) == 0)
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
