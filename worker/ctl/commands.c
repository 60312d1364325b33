/* commands: see commands.h. Owns the table, and how a word finds its command. */
#include "worker/ctl/commands.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_ROW(name) &cmd_##name,
const struct ctl_command *const ctl_commands[] = {CTL_COMMANDS(CTL_NO_GROUP, COMMAND_ROW) NULL};

const char *ctl_word(const struct ctl_command *c)
{
    const char *blank = strrchr(c->name, ' ');
    return blank ? blank + 1 : c->name;
}

const struct ctl_command *ctl_find(const struct ctl_command *const *among, const char *word)
{
    for (; *among; among++)
        if (strcmp(word, ctl_word(*among)) == 0)
            return *among;
    return NULL;
}

#define PRINT_GROUP(title)  puts(title ":");
#define PRINT_COMMAND(verb) printf("  %-11s %s\n", cmd_##verb.name, cmd_##verb.summary);
void ctl_print_commands(void)
{
    CTL_COMMANDS(PRINT_GROUP, PRINT_COMMAND)
}

/* --- what was meant ------------------------------------------------------------------------ */

enum { LONGEST = 24 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters must be added, dropped, replaced or exchanged with their neighbour to make one of
 * the other: the optimal string alignment distance (restricted Damerau-Levenshtein). */
static size_t distance(const char *a, const char *b)
{
    size_t row[LONGEST + 1][LONGEST + 1], n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST)
        return CTL_UNLIKE;
    for (size_t i = 0; i <= n; i++)
        row[i][0] = i;
    for (size_t k = 0; k <= m; k++)
        row[0][k] = k;
    for (size_t i = 1; i <= n; i++) {
        for (size_t k = 1; k <= m; k++) {
            size_t change = row[i - 1][k - 1] + (a[i - 1] != b[k - 1]);
            row[i][k] = least(change, least(row[i - 1][k], row[i][k - 1]) + 1);
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                row[i][k] = least(row[i][k], row[i - 2][k - 2] + 1);
        }
    }
    return row[n][m];
}

size_t ctl_unlike(const char *word, const char *candidate)
{
    /* A beginning is what one types who is used to completion. */
    if (strlen(word) >= 2 && strncmp(word, candidate, strlen(word)) == 0)
        return 0;
    size_t d = distance(word, candidate);
    return d < strlen(candidate) ? d : CTL_UNLIKE;
}

const char *ctl_nearest(const struct ctl_command *const *among, const char *word)
{
    const char *nearest = NULL;
    size_t best = CTL_UNLIKE;
    for (; *among; among++) {
        const char *candidate = ctl_word(*among);
        size_t d = ctl_unlike(word, candidate);
        if (d < best) {
            best = d;
            nearest = candidate;
        }
    }
    return nearest;
}

/* --- running ------------------------------------------------------------------------------- */

/* prefix: of a noun, with its blank; "" for verbs. */
static int unknown(const struct ctl_command *const *among, const char *prefix, const char *word)
{
    const char *kind = *prefix ? "action" : "verb", *meant = ctl_nearest(among, word);
    if (meant)
        ctl_fail(CTL_USAGE, "unknown %s '%s%s'; did you mean '%s%s'?", kind, prefix, word, prefix,
            meant);
    else
        ctl_fail(CTL_USAGE, "unknown %s '%s%s'", kind, prefix, word);
    fprintf(stderr, "'hooklinectl %s--help' lists the %ss.\n", prefix, kind);
    return CTL_USAGE;
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int run_action(struct ctl *ctl, const struct ctl_command *noun, int argc, char **argv)
{
    char prefix[LONGEST + 2];
    snprintf(prefix, sizeof(prefix), "%s ", noun->name);
    if (argc < 2) {
        ctl_print_help(noun);
        return CTL_USAGE;
    }
    if (asks_for_help(argv[1])) {
        ctl_print_help(noun);
        return CTL_OK;
    }
    if (argv[1][0] == '-')
        return ctl_usage_error(noun, "say what to do before '%s'", argv[1]);
    const struct ctl_command *action = ctl_find(noun->actions, argv[1]);
    return action ? action->run(ctl, argc - 1, argv + 1) : unknown(noun->actions, prefix, argv[1]);
}

int ctl_dispatch(struct ctl *ctl, int argc, char **argv)
{
    const char *hint = "'hooklinectl --help' lists the verbs";
    if (argc < 1)
        return ctl_fail(CTL_USAGE, "no verb given; %s", hint);
    if (argv[0][0] == '-')
        return ctl_fail(CTL_USAGE, "unknown option '%s'; %s", argv[0], hint);
    const struct ctl_command *c = ctl_find(ctl_commands, argv[0]);
    if (!c)
        return unknown(ctl_commands, "", argv[0]);
    return c->actions ? run_action(ctl, c, argc, argv) : c->run(ctl, argc, argv);
}
