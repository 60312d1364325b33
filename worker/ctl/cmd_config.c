/* hooklinectl config: the settings in effect, where each comes from, and whether the programs would
 * start with them. Reads no store. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/mem.h"
#include "worker/ctl/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { OPT_FOR = 1, OPT_CHECK };

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_FOR, "for", "PROGRAM", "those of producer, worker or hooklinectl only"},
    {OPT_CHECK, "check", NULL, "only say whether the programs would start with them"},
    CTL_JSON_OPTION,
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_config = {
    .name = "config",
    .summary = "show the settings in effect, or check them",
    .words = "[NAME...]",
    .about =
        "Shows each setting, or those named: its value here (secrets as ***), where it was given\n"
        "and which programs use it. The environment wins over --config FILE, and FILE over .env\n"
        "in the working directory. --check names every fault; the exit code is 1 when there is\n"
        "one.\n",
    .examples = "hooklinectl --config /etc/hookline.conf config\n"
                "hooklinectl config WEBHOOK_DB_POOL_SIZE WEBHOOK_DB_MAX_OVERFLOW\n"
                "hooklinectl --config /etc/hookline.conf config --check --for producer\n"
                "hooklinectl config --json | jq '.settings[] | select(.origin != \"default\")'\n",
    .options = options,
    .run = run,
};

static const struct program {
    const char *name;
    int bit;
} programs[] = {
    {"producer",    CFG_PRODUCER},
    {"worker",      CFG_WORKER  },
    {"hooklinectl", CFG_CTL     },
};
enum { NPROGRAMS = sizeof(programs) / sizeof(*programs) };

struct show {
    char **names; /* those wanted, to the NULL at the end; none: all */
    struct listing listing;
};

static const struct column columns[] = {
    {.key = "name",       .title = "NAME"},
    {.key = "value",                   .title = "VALUE", .shrink = 16},
    {.key = "origin",.title = "FROM", .shrink = 16},
    {.key = "used_by",                   .title = "USED BY"},
    {.key = "default"                   },
    {.key = "allowed"                  },
    {.key = "help"},
    {.key = "secret",    .kind = COLUMN_BOOL},
    {.key = "group"   },
};
enum { NCOLUMNS = sizeof(columns) / sizeof(*columns) };

/* --- names ------------------------------------------------------------------------------- */

static bool names_it(const char *word, const struct config_item *item)
{
    size_t len = strlen(word);
    if (strcasecmp(word, item->name) == 0)
        return true;
    for (const char *p = item->aliases; *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        if (n == len && strncasecmp(word, p, n) == 0)
            return true;
        p += n;
    }
    return false;
}

static bool is_wanted(const struct show *s, const struct config_item *item)
{
    for (char **word = s->names; *word; word++)
        if (names_it(*word, item))
            return true;
    return !*s->names;
}

struct search {
    const char *word;
    bool found;
};

static void look_for(const struct config_item *item, void *ctx)
{
    struct search *s = ctx;
    s->found |= names_it(s->word, item);
}

/* -1, or the exit code. */
static int check_names(const struct config *cfg, int bits, char **names)
{
    for (; *names; names++) {
        struct search s = {.word = *names};
        config_each(cfg, bits, look_for, &s);
        if (!s.found)
            return ctl_usage_error(
                &cmd_config, "%s is no setting; 'hooklinectl config' lists them", *names);
    }
    return -1;
}

/* --- showing ----------------------------------------------------------------------------- */

static void put_users(int users, struct buf *out)
{
    for (int i = 0; i < NPROGRAMS; i++)
        if (users & programs[i].bit)
            buf_printf(out, "%s%s", out->len ? ", " : "", programs[i].name);
}

static void add(const struct config_item *item, void *ctx)
{
    struct show *s = ctx;
    struct buf users = {0};
    if (!is_wanted(s, item))
        return;
    put_users(item->users, &users);
    listing_add(&s->listing,
        (const char *[NCOLUMNS]){item->name, item->value, item->origin, buf_str(&users), item->def,
            item->allowed, item->help, item->hidden ? "t" : "f", item->group});
    buf_release(&users);
}

/* One text for each line of faults. */
static void put_faults(const struct buf *faults, struct buf *out)
{
    json_put_key(out, "faults");
    buf_putc(out, '[');
    for (const char *p = buf_str(faults), *comma = ""; *p; comma = ",") {
        size_t len = strcspn(p, "\n");
        char *line = mem_printf("%.*s", (int)len, p);
        buf_puts(out, comma);
        json_put_string(out, line);
        free(line);
        p += len + (p[len] == '\n');
    }
    buf_putc(out, ']');
}

static void print_json(const struct show *s, const struct buf *faults)
{
    struct buf out = {0};
    buf_puts(&out, "{\"version\":1,\"settings\":");
    listing_put_json(&s->listing, &out);
    put_faults(faults, &out);
    buf_putc(&out, '}');
    print_line(&out);
    buf_release(&out);
}

static int show(const struct ctl_args *args, int bits)
{
    struct config cfg;
    struct buf faults = {0};
    struct show s = {
        .names = args->argv + args->rest, .listing = {.columns = columns, .n = NCOLUMNS}
    };

    config_look(&cfg, bits, args->ctl->config_file, environ, &faults);
    int code = check_names(&cfg, bits, s.names);
    if (code < 0) {
        config_each(&cfg, bits, add, &s);
        if (args->shared.json)
            print_json(&s, &faults);
        else
            listing_print(&s.listing);
        code = CTL_OK;
    }
    if (code == CTL_OK && faults.len && !args->shared.json) {
        fflush(stdout);
        fprintf(stderr, "hooklinectl: not usable as they are given:\n%s", buf_str(&faults));
    }
    listing_release(&s.listing);
    config_release(&cfg);
    buf_release(&faults);
    return code;
}

/* --- checking ---------------------------------------------------------------------------- */

static void print_verdict(const char *program, const struct buf *faults)
{
    if (!faults->len) {
        printf("%s: fine\n", program);
        return;
    }
    printf("%s: would not start\n", program);
    for (const char *p = buf_str(faults); *p;) {
        int len = (int)strcspn(p, "\n");
        printf("  %.*s\n", len, p);
        p += len + (p[len] == '\n');
    }
}

static int check(const struct ctl_args *args, int bits)
{
    struct buf out = {0};
    bool fine = true;

    buf_puts(&out, "{\"version\":1,\"programs\":[");
    for (int i = 0; i < NPROGRAMS; i++) {
        struct config cfg;
        struct buf faults = {0};
        if (!(bits & programs[i].bit))
            continue;
        if (config_load(&cfg, programs[i].bit, args->ctl->config_file, environ, &faults) == HL_OK)
            config_release(&cfg);
        fine &= faults.len == 0;
        if (!args->shared.json)
            print_verdict(programs[i].name, &faults);
        buf_puts(&out, out.data[out.len - 1] == '[' ? "{" : ",{");
        json_put_text(&out, "program", programs[i].name);
        put_faults(&faults, &out);
        buf_putc(&out, '}');
        buf_release(&faults);
    }
    buf_puts(&out, "]}");
    if (args->shared.json)
        print_line(&out);
    buf_release(&out);
    return fine ? CTL_OK : CTL_ERROR;
}

/* --- the command ------------------------------------------------------------------------- */

static bool take_program(struct ctl_args *args, int *bits)
{
    for (int i = 0; i < NPROGRAMS; i++) {
        if (strcmp(args->value, programs[i].name) != 0)
            continue;
        *bits = programs[i].bit;
        return true;
    }
    args->done = ctl_usage_error(
        &cmd_config, "--for %s: expected producer, worker or hooklinectl", args->value);
    return false;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_config, ctl, argc, argv);
    int bits = CFG_ALL, key;
    bool checking = false;

    while ((key = ctl_next(&args)) != 0) {
        if (key == OPT_FOR && !take_program(&args, &bits))
            break;
        checking |= key == OPT_CHECK;
    }
    if (args.done >= 0)
        return args.done;
    if (checking && args.rest < argc)
        return ctl_usage_error(&cmd_config, "--check is about all settings: name none");
    return checking ? check(&args, bits) : show(&args, bits);
}
