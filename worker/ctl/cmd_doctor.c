/* hooklinectl doctor: looks for what will make trouble, and says why it matters and what to do. The
 * checks are in doctor_*.c; here is their table, and how their findings are told. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "worker/ctl/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_STRICT = 1, OPT_PRODUCERS, OPT_WORKERS, MAX_WHAT = 1000, MAX_REPLICAS = 10000 };

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_STRICT, "strict", NULL, "exit with 1 for warnings too"},
    {OPT_PRODUCERS, "producers", "N", "whether PostgreSQL has connections for N producers ..."},
    {OPT_WORKERS, "workers", "N", "... and N workers (pods, hosts) with these settings"},
    CTL_READER_OPTIONS,
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_doctor = {
    .name = "doctor",
    .summary = "look for what will make trouble",
    .about =
        "Looks at the settings, the secrets, Redis, PostgreSQL, Firecrawl, the fleet and this "
        "host,\n"
        "as the programs would find them here; changes nothing, but for a file without a name in\n"
        "the spool's folder, to see how fast it is. Run it as the user of the programs, with "
        "their\n"
        "settings. Exits with 1 when there is an error, with 69 when a store cannot be reached.\n",
    .examples = "hooklinectl --config /etc/hookline.conf doctor\n"
                "hooklinectl doctor --strict\n"
                "hooklinectl doctor --producers 6 --workers 20\n"
                "hooklinectl doctor --json | jq '.findings[] | select(.level != \"ok\")'\n",
    .options = options,
    .run = run,
};

/* clang-format off */
static const struct check {
    const char *name, *why;
    doctor_check *look;
} checks[] = {
    {"settings", "A program that finds a fault in its settings does not start.",
        doctor_settings},
    {"secrets", "Whoever guesses a secret can post events, or read everything.",
        doctor_secrets},
    {"redis", "Without it jobs are taken from PostgreSQL, slower; Firecrawl's events wait on disk.",
        doctor_redis},
    {"redis durability", "What Redis forgets is filled in again from PostgreSQL, but Firecrawl's "
        "events are nowhere else.",
        doctor_durability},
    {"redis memory", "A Redis that is full refuses jobs; one that evicts loses them.",
        doctor_redis_memory},
    {"postgresql", "It decides who works on what, and holds every event.",
        doctor_postgres},
    {"schema", "The programs wait until the schema is that of their release.",
        doctor_schema},
    {"connections", "Processes that get none refuse, spool and retry when load is highest.",
        doctor_connections},
    {"latency", "Every event costs a few round trips.",
        doctor_latency},
    {"clocks", "Times of different hosts are shown side by side, and signatures have a time.",
        doctor_clocks},
    {"fleet", "Events that nobody works off pile up.",
        doctor_fleet},
    {"firecrawl", "Without it pages cannot be fetched, and events wait.",
        doctor_firecrawl},
    {"spool", "There events are safe while PostgreSQL is away; without it they are refused.",
        doctor_spool},
    {"spool disk", "While PostgreSQL is away each answer waits for the disk.",
        doctor_disk},
    {"file limit", "Each client of the intake is an open file.",
        doctor_files},
    {"memory limit", "A process that the kernel kills leaves its jobs to others, late.",
        doctor_memory},
};
/* clang-format on */

static const struct column columns[] = {
    {.key = "level"}, {.key = "check"}, {.key = "what"}, {.key = "why"}, {.key = "remedy"}};
enum { LEVEL, CHECK, WHAT, WHY, REMEDY, NCOLUMNS };

static const struct level {
    const char *word;
    enum colour colour;
} levels[DOCTOR_LEVELS] = {
    [DOCTOR_OK] = {"ok",      GREEN },
    [DOCTOR_WARNING] = {"warning", YELLOW},
    [DOCTOR_ERROR] = {"error",   RED   },
};

void doctor_say(struct doctor *d, enum doctor_level level, const char *todo, const char *fmt, ...)
{
    struct buf text = {0}, what = {0}; /* servers have their say in it: no escape sequences */
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    text_one_line(buf_str(&text), MAX_WHAT, &what);
    buf_release(&text);
    d->found[level]++;
    listing_add(&d->findings,
        (const char *[NCOLUMNS]){levels[level].word, d->check, buf_str(&what), d->why, todo});
    buf_release(&what);
}

/* --- telling ----------------------------------------------------------------------------- */

static enum doctor_level level_of(const char *word)
{
    enum doctor_level level = DOCTOR_OK;
    while (strcmp(levels[level].word, word) != 0)
        level++;
    return level;
}

static void print_finding(const struct listing *l, size_t row, bool colour)
{
    enum doctor_level level = level_of(listing_cell(l, row, LEVEL));
    printf("%s%-7s%s  %-16s  %s\n", colour_code(levels[level].colour, colour), levels[level].word,
        colour_code(PLAIN, colour), listing_cell(l, row, CHECK), listing_cell(l, row, WHAT));
    if (level == DOCTOR_OK)
        return;
    printf("%27sWhy: %s\n", "", listing_cell(l, row, WHY));
    printf("%27sDo:  %s\n", "", listing_cell(l, row, REMEDY));
}

static void print_text(const struct doctor *d)
{
    bool colour = terminal_colour();
    for (size_t i = 0; i < listing_rows(&d->findings); i++)
        print_finding(&d->findings, i, colour);
    printf("\n%d ok, %d warning%s, %d error%s\n", d->found[DOCTOR_OK], d->found[DOCTOR_WARNING],
        d->found[DOCTOR_WARNING] == 1 ? "" : "s", d->found[DOCTOR_ERROR],
        d->found[DOCTOR_ERROR] == 1 ? "" : "s");
}

static void print_json(const struct doctor *d)
{
    struct buf out = {0};
    buf_puts(&out, "{\"version\":1,\"findings\":");
    listing_put_json(&d->findings, &out);
    json_put_int(&out, "ok", d->found[DOCTOR_OK]);
    json_put_int(&out, "warnings", d->found[DOCTOR_WARNING]);
    json_put_int(&out, "errors", d->found[DOCTOR_ERROR]);
    buf_putc(&out, '}');
    print_line(&out);
    buf_release(&out);
}

/* --- the command ------------------------------------------------------------------------- */

struct visit {
    const struct ctl_args *args;
    bool strict;
    int producers, workers;
};

/* Our own settings decide whether, and where, anything can be asked. */
static bool own_settings_fine(const char *config_file)
{
    struct config cfg;
    struct buf faults = {0};
    bool fine = config_load(&cfg, CFG_CTL, config_file, environ, &faults) == HL_OK;
    if (fine)
        config_release(&cfg);
    buf_release(&faults);
    return fine;
}

static void open_session(struct doctor *d)
{
    struct hl_err err;
    if (!own_settings_fine(d->config_file))
        return;
    d->check = "stores";
    d->why = "Nothing can be asked without a connection.";
    d->asks = session_open(&d->session, &d->cfg, &err) == HL_OK;
    if (!d->asks)
        doctor_say(d, DOCTOR_ERROR, "Correct the setting it names.", "%s", err.msg);
}

static int verdict(const struct doctor *d, bool strict)
{
    if (d->redis_err.rc != HL_OK || d->db_err.rc != HL_OK)
        return CTL_UNREACHABLE;
    return d->found[DOCTOR_ERROR] || (strict && d->found[DOCTOR_WARNING]) ? CTL_ERROR : CTL_OK;
}

static int examine(void *ctx)
{
    const struct visit *v = ctx;
    struct doctor d = {
        .config_file = v->args->ctl->config_file,
        .producers = v->producers,
        .workers = v->workers,
        .findings = {.columns = columns, .n = NCOLUMNS}
    };
    struct buf faults = {0};

    config_look(&d.cfg, CFG_ALL, d.config_file, environ, &faults);
    buf_release(&faults); /* doctor_settings tells them, by program */
    open_session(&d);
    doctor_ask(&d);
    for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
        d.check = checks[i].name;
        d.why = checks[i].why;
        checks[i].look(&d);
    }
    if (v->args->shared.json)
        print_json(&d);
    else
        print_text(&d);
    int code = verdict(&d, v->strict);
    doctor_release_answers(&d);
    session_close(&d.session);
    listing_release(&d.findings);
    config_release(&d.cfg);
    return code;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_doctor, ctl, argc, argv);
    struct visit v = {.args = &args};
    int key;

    while ((key = ctl_next(&args)) != 0) {
        v.strict |= key == OPT_STRICT;
        if (key == OPT_PRODUCERS && !ctl_count(&args, "producers", MAX_REPLICAS, &v.producers))
            break;
        if (key == OPT_WORKERS && !ctl_count(&args, "workers", MAX_REPLICAS, &v.workers))
            break;
    }
    return args.done >= 0 ? args.done : ctl_watch(&args.shared, examine, &v);
}
