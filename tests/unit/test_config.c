#include "base/config.h"
#include "base/config_table.h"
#include "base/envfile.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define SECRET "0123456789abcdef0123456789abcdef"
#define ENV(...)                                                                                   \
    (char *[])                                                                                     \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

/* The table as the tests see it. */
static const struct setting {
    size_t offset, size;
    const char *kind, *names, *def;
    int64_t min, max;
    int users;
    const char *help;
} settings[] = {
#define NO_GROUP(title)
#define SETTING(f, k, names_, def_, min_, max_, users_, help_)                                     \
    {offsetof(struct config, f), sizeof(((struct config *)0)->f), #k, (names_), (def_), (min_),    \
        (max_), (users_), (help_)},
    CONFIG_TABLE(NO_GROUP, SETTING)};
#define NSETTINGS (sizeof(settings) / sizeof(*settings))

static void in_temporary_folder(void)
{
    char dir[] = "/tmp/hookline-config-XXXXXX";
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(chdir(dir), 0);
}

static void remove_folder(void)
{
    char dir[PATH_MAX];
    cr_assert_not_null(getcwd(dir, sizeof(dir)));
    static const char *const files[] = {".env", "a.conf", "secret"};
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        unlink(files[i]);
    rmdir(".env");
    cr_assert_eq(rmdir(dir), 0);
}

TestSuite(config);
TestSuite(config_files, .init = in_temporary_folder, .fini = remove_folder);

/* Kept until the process ends, which runs one test only. */
static char *keep(char *s)
{
    static char *kept[1024];
    static size_t n;
    cr_assert_lt(n, sizeof(kept) / sizeof(*kept));
    return kept[n++] = s;
}

static void write_bytes(const char *path, const char *data, size_t len)
{
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(data, 1, len, f), len);
    cr_assert_eq(fclose(f), 0);
}

static void write_file(const char *path, const char *text)
{
    write_bytes(path, text, strlen(text));
}

/* Loads what must load. */
static struct config loaded(int program, const char *file, char **env)
{
    struct config cfg;
    struct buf faults = {0};
    cr_assert_eq(
        config_load(&cfg, program, file, env, &faults), HL_OK, "faults: %s", buf_str(&faults));
    cr_assert_eq(faults.len, 0);
    return cfg;
}

/* Loads what must not load; returns the faults, kept until the test ends. */
static const char *refused(int program, const char *file, char **env)
{
    struct config cfg;
    struct buf faults = {0};
    cr_assert_eq(config_load(&cfg, program, file, env, &faults), HL_FATAL);
    cr_assert_neq(faults.len, 0);
    cr_assert_null(cfg.host, "nothing is left to release");
    return keep(buf_detach(&faults));
}

static size_t lines_of(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += *s == '\n';
    return n;
}

static const char *printed(const struct config *cfg, int program)
{
    struct buf out = {0};
    config_print(cfg, program, &out);
    return keep(buf_detach(&out));
}

/* --- the table --------------------------------------------------------------------------- */

/* Ours, or that of a standard: OpenTelemetry's. */
static bool is_known_prefix(const char *names)
{
    return strncmp(names, "WEBHOOK_", 8) == 0 || strncmp(names, "OTEL_", 5) == 0;
}

Test(config, every_row_has_help_and_users_and_a_name_of_ours)
{
    for (size_t i = 0; i < NSETTINGS; i++) {
        const struct setting *s = &settings[i];
        cr_assert(is_known_prefix(s->names), "%s", s->names);
        cr_assert(strlen(s->help) > 10 && s->help[strlen(s->help) - 1] == '.', "%s", s->names);
        cr_assert(s->users & CFG_ALL, "%s", s->names);
        cr_assert_eq(s->users >> 8 & ~s->users, 0, "%s: needed by who does not use it", s->names);
        cr_assert_leq(s->min, s->max, "%s", s->names);
    }
}

static void collect_names(struct env_vars *names)
{
    for (size_t i = 0; i < NSETTINGS; i++) {
        char *copy = mem_strdup(settings[i].names), *rest = copy;
        for (char *name; (name = strsep(&rest, " "));) {
            cr_assert_neq(*name, '\0', "two blanks in %s", settings[i].names);
            env_vars_add(names, name, strlen(name), "", 0);
        }
        free(copy);
    }
}

Test(config, no_name_is_used_twice)
{
    struct env_vars names = {0};
    collect_names(&names);
    cr_assert_geq(names.len, NSETTINGS);
    for (size_t i = 0; i < names.len; i++)
        for (size_t j = 0; j < i; j++)
            cr_assert_neq(
                strcasecmp(names.list[i].name, names.list[j].name), 0, "%s", names.list[i].name);
    env_vars_release(&names);
}

/* Every byte of struct config before config.c's own part belongs to one row or is padding. */
Test(config, every_field_has_exactly_one_row)
{
    static char owner[sizeof(struct config)];
    for (size_t i = 0; i < NSETTINGS; i++)
        for (size_t b = 0; b < settings[i].size; b++)
            cr_assert_eq(owner[settings[i].offset + b]++, 0, "%s", settings[i].names);
    for (size_t at = 0; at < offsetof(struct config, origins); at += sizeof(int64_t))
        cr_assert_eq(owner[at], 1, "a field at offset %zu has no row", at);
}

Test(config, every_default_is_accepted_when_written_out_and_printed_as_written)
{
    for (size_t i = 0; i < NSETTINGS; i++) {
        const struct setting *s = &settings[i];
        if (!s->def || strcmp(s->kind, "api_key") == 0 || strstr(s->kind, "_url"))
            continue;
        char *name = keep(mem_strndup(s->names, strcspn(s->names, " ")));
        char *var = keep(mem_printf("%s=%s", name, s->def));
        char *want = keep(mem_printf("%s=%s # %s in the environment\n", name, s->def, name));
        struct config cfg = loaded(CFG_ALL, NULL, ENV("WEBHOOK_SECRET=" SECRET, var));
        const char *got = printed(&cfg, CFG_ALL);
        cr_assert(strstr(got, want), "%s not in\n%s", want, got);
        config_release(&cfg);
    }
}

static bool is_number(const struct setting *s)
{
    static const char *const kinds[] = {"number", "time", "time_or_off", "size"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        if (strcmp(s->kind, kinds[i]) == 0)
            return true;
    return false;
}

static char *number_text(const struct setting *s, int64_t v)
{
    const char *unit = strncmp(s->kind, "time", 4) == 0 ? "ms" : "";
    return keep(
        mem_printf("%.*s=%lld%s", (int)strcspn(s->names, " "), s->names, (long long)v, unit));
}

/* A worker's relations between settings are not the point here: only the row's own fault counts. */
static bool has_own_fault(const struct setting *s, char *var, const char *fault)
{
    struct config cfg;
    struct buf faults = {0};
    config_load(&cfg, CFG_ALL, NULL, ENV("WEBHOOK_SECRET=" SECRET, var), &faults);
    char *want = mem_printf("%.*s in the environment: ", (int)strcspn(s->names, " "), s->names);
    const char *line = strstr(buf_str(&faults), want);
    bool found = line && strstr(line, fault);
    free(want);
    buf_release(&faults);
    config_release(&cfg);
    return found;
}

Test(config, every_number_is_accepted_at_its_bounds_and_refused_beyond)
{
    size_t tried = 0;
    for (size_t i = 0; i < NSETTINGS; i++) {
        const struct setting *s = &settings[i];
        if (!is_number(s))
            continue;
        cr_assert(!has_own_fault(s, number_text(s, s->min), "out of range"), "%s", s->names);
        cr_assert(!has_own_fault(s, number_text(s, s->max), "out of range"), "%s", s->names);
        cr_assert(has_own_fault(s, number_text(s, s->max + 1), "out of range"), "%s", s->names);
        if (s->min > 1)
            cr_assert(has_own_fault(s, number_text(s, s->min - 1), "out of range"), "%s", s->names);
        tried++;
    }
    cr_assert_gt(tried, 25);
}

/* --- values ------------------------------------------------------------------------------ */

Test(config, defaults_are_the_documented_ones)
{
    struct config cfg = loaded(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET=" SECRET));
    cr_assert_str_eq(cfg.host, "0.0.0.0");
    cr_assert_eq(cfg.port, 52100);
    cr_assert_str_eq(cfg.webhook_secret, SECRET);
    cr_assert_null(cfg.intake_token);
    cr_assert_null(cfg.api_secret);
    cr_assert_str_eq(cfg.redis_url, "redis://localhost:52101");
    cr_assert_str_eq(cfg.database_url, "postgresql://fc_bridge:changeme@localhost:5432/fc_bridge");
    cr_assert_eq(cfg.log_level, LOG_INFO);
    cr_assert_eq(cfg.log_format, LOG_AUTO);
    cr_assert(!cfg.test_mode);
    cr_assert_eq(cfg.ack, ACK_BOTH);
    cr_assert_eq(cfg.idle_timeout_ms, 75000);
    cr_assert_eq(cfg.drain_timeout_ms, 130000);
    cr_assert_eq(cfg.spool_max_bytes, 1 << 30);
    cr_assert_eq(cfg.max_body_bytes, 1 << 20);
    cr_assert(cfg.db_prepared);
    cr_assert_eq(cfg.job_timeout_ms, 900000, "filled although not the producer's");
    config_release(&cfg);
}

Test(config, a_program_checks_and_demands_only_its_own_settings)
{
    struct config cfg =
        loaded(CFG_WORKER, NULL, ENV("WEBHOOK_PORT=nonsense", "WEBHOOK_PRODUCERS=-1"));
    cr_assert_null(cfg.webhook_secret);
    cr_assert_eq(cfg.port, 52100);
    config_release(&cfg);

    cfg = loaded(CFG_CTL, NULL, ENV("WEBHOOK_CONCURRENCY=nonsense"));
    cr_assert_null(cfg.webhook_secret, "optional there");
    config_release(&cfg);

    const char *faults = refused(CFG_PRODUCER, NULL, ENV("HOME=/"));
    cr_assert(
        strstr(faults, "WEBHOOK_SECRET: is needed, set it or WEBHOOK_SECRET_FILE"), "%s", faults);
}

Test(config, the_first_alias_present_wins_even_if_it_is_empty)
{
    struct config cfg = loaded(CFG_WORKER, NULL,
        ENV("SEARCH_BRIDGE_REDIS_URL=redis://c", "REDIS_URL=redis://b",
            "WEBHOOK_REDIS_URL=redis://a"));
    cr_assert_str_eq(cfg.redis_url, "redis://a");
    config_release(&cfg);
    cfg = loaded(CFG_WORKER, NULL, ENV("SEARCH_BRIDGE_REDIS_URL=redis://c", "REDIS_URL=redis://b"));
    cr_assert_str_eq(cfg.redis_url, "redis://b");
    config_release(&cfg);
    cfg = loaded(CFG_WORKER, NULL, ENV("FIRECRAWL_API_KEY=k", "WEBHOOK_FIRECRAWL_API_KEY="));
    cr_assert_str_eq(cfg.firecrawl_api_key, "");
    config_release(&cfg);
    const char *faults =
        refused(CFG_WORKER, NULL, ENV("REDIS_URL=redis://b", "WEBHOOK_REDIS_URL="));
    cr_assert(strstr(faults, "WEBHOOK_REDIS_URL in the environment: is empty"), "%s", faults);
}

Test(config, names_are_read_in_any_case)
{
    struct config cfg = loaded(CFG_WORKER, NULL,
        ENV("webhook_concurrency=7", "Redis_Url=redis://b", "webhook_workers=1",
            "WEBHOOK_WORKERS=2", "Webhook_Workers=3"));
    cr_assert_eq(cfg.concurrency, 7);
    cr_assert_str_eq(cfg.redis_url, "redis://b");
    cr_assert_eq(cfg.workers, 2, "the exact spelling comes first");
    config_release(&cfg);
}

Test(config, drivers_in_database_urls_are_dropped)
{
    static const struct {
        const char *given, *want;
    } urls[] = {
        {"postgresql+asyncpg://u:p@h:1/d?a=b", "postgresql://u:p@h:1/d?a=b"},
        {"postgresql+psycopg2://h/d",          "postgresql://h/d"          },
        {"postgres://h/d+e://",                "postgres://h/d+e://"       },
        {"postgresql:///d?host=/run",          "postgresql:///d?host=/run" },
    };
    for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
        char *var = mem_printf("DATABASE_URL=%s", urls[i].given);
        struct config cfg = loaded(CFG_CTL, NULL, ENV(var));
        cr_assert_str_eq(cfg.database_url, urls[i].want);
        config_release(&cfg);
        free(var);
    }
}

Test(config, words_are_read_in_any_case)
{
    struct config cfg = loaded(CFG_ALL, NULL,
        ENV("WEBHOOK_SECRET=" SECRET, "WEBHOOK_LOG_LEVEL=WARNING", "WEBHOOK_ACK=Queue",
            "WEBHOOK_TEST_MODE=Y", "WEBHOOK_DB_PREPARED= OFF ", "WEBHOOK_INDEX=none",
            "WEBHOOK_SCRAPER=direct", "WEBHOOK_LOG_FORMAT=json"));
    cr_assert_eq(cfg.log_level, LOG_WARN);
    cr_assert_eq(cfg.ack, ACK_QUEUE);
    cr_assert(cfg.test_mode);
    cr_assert(!cfg.db_prepared);
    cr_assert_eq(cfg.index, INDEX_NONE);
    cr_assert_eq(cfg.scraper, SCRAPER_DIRECT);
    cr_assert_eq(cfg.log_format, LOG_JSON);
    config_release(&cfg);
}

Test(config, bad_values_are_named_with_what_is_allowed)
{
    /* clang-format off */
    static const struct {
        char *var;
        const char *says;
    } bad[] = {
        {"WEBHOOK_PORT=70000",
         "WEBHOOK_PORT in the environment: \"70000\" is out of range; allowed: a whole number "
            "from 0 to 65535\n"},
        {"WEBHOOK_PORT=-1", "\"-1\" is malformed"},
        {"WEBHOOK_PORT=0x50", "\"0x50\" is malformed"},
        {"WEBHOOK_PORT=80 80", "\"80 80\" is malformed"},
        {"WEBHOOK_PORT=99999999999999999999", "is malformed"},
        {"WEBHOOK_PORT=", "WEBHOOK_PORT in the environment: is empty"},
        {"SEARCH_BRIDGE_PORT=x", "SEARCH_BRIDGE_PORT in the environment: \"x\" is malformed"},
        {"WEBHOOK_ACK=never", "\"never\" is not one of the words; allowed: one of both, queue\n"},
        {"WEBHOOK_TEST_MODE=maybe", "allowed: one of true, false\n"},
        {"WEBHOOK_DB_PREPARED=2", "allowed: one of on, off\n"},
        {"WEBHOOK_LOG_LEVEL=loud", "allowed: one of debug, info, warn, error\n"},
        {"WEBHOOK_LEASE_SECONDS=1", "allowed: a duration (ms, s, m, h; s if bare) from 2s to 1h\n"},
        {"WEBHOOK_WATCHDOG_SECONDS=10ms", "allowed: 0 (off) or a duration"},
        {"WEBHOOK_SCRAPE_TIMEOUT=16m", "\"16m\" is out of range"},
        {"WEBHOOK_RETRY_BASE=999ms", "\"999ms\" is out of range"},
        {"WEBHOOK_DIRECT_MAX_BYTES=65g", "is out of range; allowed: a size"},
        {"WEBHOOK_QUEUE_PREFIX={a}", "\"{a}\" holds other characters"},
        {"WEBHOOK_QUEUE_PREFIX=", "is empty"},
        {"WEBHOOK_HOST=a\nb", "holds a control character"},
        {"WEBHOOK_HOST=\xff", "is not valid UTF-8"},
        {"WEBHOOK_REDIS_URL=rediss://h", "asks for TLS"},
        {"WEBHOOK_REDIS_URL=localhost:6379", "has another form; allowed: redis://"},
        {"WEBHOOK_DATABASE_URL=mysql+x://h", "has another form; allowed: postgresql://"},
        {"WEBHOOK_DATABASE_URL=host=h dbname=d", "has another form"},
        {"FIRECRAWL_API_URL=firecrawl:3002", "has another form; allowed: http://"},
        {"WEBHOOK_FIRECRAWL_API_KEY=a\r\nX-Evil: 1", "holds a control character"},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        const char *faults = refused(CFG_ALL, NULL, ENV("WEBHOOK_SECRET=" SECRET, bad[i].var));
        cr_assert(strstr(faults, bad[i].says), "%s: %s", bad[i].var, faults);
        cr_assert_eq(lines_of(faults), 1, "%s", faults);
    }
}

Test(config, fractions_are_read_exactly)
{
    static const struct {
        const char *text;
        int64_t millionths;
        const char *printed;
    } good[] = {
        {"0",        0,       "0.0"     },
        {"0.0",      0,       "0.0"     },
        {"1",        1000000, "1.0"     },
        {"1.0",      1000000, "1.0"     },
        {"1.000000", 1000000, "1.0"     },
        {"0.25",     250000,  "0.25"    },
        {"0.10",     100000,  "0.1"     },
        {"0.000001", 1,       "0.000001"},
        {"00.5",     500000,  "0.5"     },
    };
    static const struct {
        const char *text, *says;
    } bad[] = {
        {".5",        "is malformed"                                                },
        {"1.",        "is malformed"                                                },
        {".",         "is malformed"                                                },
        {"",          "is empty"                                                    },
        {"-1",        "is malformed"                                                },
        {"+1",        "is malformed"                                                },
        {"1e3",       "is malformed"                                                },
        {"0,5",       "is malformed"                                                },
        {"0.5.5",     "is malformed"                                                },
        {"50%",       "is malformed"                                                },
        {"0.0000001", "is malformed"                                                },
        {"1000000",   "is malformed"                                                },
        {"2",         "\"2\" is out of range; allowed: a fraction from 0.0 to 1.0\n"},
        {"1.000001",  "\"1.000001\" is out of range"                                },
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        char *var = keep(mem_printf("WEBHOOK_METRICS_SAMPLE=%s", good[i].text));
        struct config cfg = loaded(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET=" SECRET, var));
        cr_expect_eq(cfg.metrics_sample, good[i].millionths, "%s", var);
        const char *line = keep(mem_printf("\nWEBHOOK_METRICS_SAMPLE=%s #", good[i].printed));
        cr_expect(strstr(printed(&cfg, CFG_PRODUCER), line), "%s", var);
        config_release(&cfg);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        char *var = keep(mem_printf("WEBHOOK_METRICS_SAMPLE=%s", bad[i].text));
        const char *faults = refused(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET=" SECRET, var));
        cr_expect(strstr(faults, bad[i].says), "%s: %s", var, faults);
    }
}

Test(config, origins_are_an_array_a_list_or_a_star)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"",                                         true },
        {"*",                                        true },
        {"http://localhost:3000",                    true },
        {"https://a.example,http://b.example:8080",  true },
        {"https://a.example, http://b.example",      true },
        {"[]",                                       true },
        {"[\"https://a.example\", \"http://b:81\"]", true },
        {"[\"*\"]",                                  true },
        {"http://[::1]:3000",                        true },
        {"http://localhost:3000/",                   false},
        {"http://localhost/path",                    false},
        {"localhost:3000",                           false},
        {"ftp://a.example",                          false},
        {"http://",                                  false},
        {"https://a.example,b.example",              false},
        {",https://a.example",                       false},
        {"*,https://a.example",                      false},
        {"[\"https://a.example/\"]",                 false},
        {"[\"a.example\"]",                          false},
        {"[\"https://a.example\", 7]",               false},
        {"[\"https://a.example\"",                   false},
        {"null",                                     false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char *var = keep(mem_printf("WEBHOOK_CORS_ORIGINS=%s", cases[i].text));
        if (!cases[i].good) {
            const char *faults = refused(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET=" SECRET, var));
            cr_expect(strstr(faults, "allowed: origins (http://host[:port])"), "%s", faults);
            continue;
        }
        struct config cfg = loaded(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET=" SECRET, var));
        cr_expect_str_eq(cfg.cors_origins, cases[i].text);
        config_release(&cfg);
    }
}

Test(config, zero_turns_the_watchdog_off)
{
    struct config cfg = loaded(CFG_WORKER, NULL, ENV("WEBHOOK_WATCHDOG_SECONDS=0"));
    cr_assert_eq(cfg.watchdog_ms, 0);
    config_release(&cfg);
}

Test(config, several_faults_are_reported_together)
{
    const char *faults = refused(
        CFG_PRODUCER, NULL, ENV("WEBHOOK_PORT=x", "WEBHOOK_ACK=y", "WEBHOOK_BODY_TIMEOUT=z"));
    cr_assert_eq(lines_of(faults), 4, "%s", faults);
    cr_assert(strstr(faults, "WEBHOOK_PORT"));
    cr_assert(strstr(faults, "WEBHOOK_ACK"));
    cr_assert(strstr(faults, "WEBHOOK_BODY_TIMEOUT"));
    cr_assert(strstr(faults, "WEBHOOK_SECRET: is needed"));
}

Test(config, settings_that_contradict_each_other_are_reported)
{
    static const struct {
        char *a, *b;
        const char *says;
    } bad[] = {
        {"WEBHOOK_JOB_TIMEOUT=60",    "WEBHOOK_SCRAPE_TIMEOUT=10",
         "WEBHOOK_JOB_TIMEOUT: 1m is too short; allowed: more than twice WEBHOOK_LEASE_SECONDS "
            "(30s)\n"                                                                      },
        {"WEBHOOK_RETRY_BASE=10",     "WEBHOOK_RETRY_MAX=9",
         "WEBHOOK_RETRY_MAX: 9s is too short; allowed: at least WEBHOOK_RETRY_BASE (10s)\n"},
        {"WEBHOOK_SCRAPE_TIMEOUT=2m", "WEBHOOK_JOB_TIMEOUT=2m",
         "WEBHOOK_JOB_TIMEOUT: 2m is too short; allowed: more than WEBHOOK_SCRAPE_TIMEOUT "
            "(2m)\n"                                                                       },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        const char *faults = refused(CFG_WORKER, NULL, ENV(bad[i].a, bad[i].b));
        cr_assert_str_eq(faults, bad[i].says);
    }
    struct config cfg = loaded(CFG_WORKER, NULL,
        ENV("WEBHOOK_RETRY_BASE=10", "WEBHOOK_RETRY_MAX=10", "WEBHOOK_JOB_TIMEOUT=120001ms"));
    config_release(&cfg);
    cfg = loaded(CFG_PRODUCER, NULL,
        ENV("WEBHOOK_SECRET=" SECRET, "WEBHOOK_RETRY_BASE=10", "WEBHOOK_RETRY_MAX=9"));
    config_release(&cfg);
}

Test(config, a_faulty_setting_is_not_also_compared)
{
    const char *faults = refused(CFG_WORKER, NULL, ENV("WEBHOOK_RETRY_MAX=x"));
    cr_assert_eq(lines_of(faults), 1, "%s", faults);
}

/* --- secrets ----------------------------------------------------------------------------- */

#define LONG_256                                                                                   \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"                             \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"                             \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"                             \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

Test(config, weak_secrets_are_refused_and_never_shown)
{
    static const struct {
        char *var;
        const char *value, *says;
    } bad[] = {
#define GIVEN(name, value, says) {name "=" value, value, says}
        GIVEN("WEBHOOK_SECRET", "0123456789abcdef0123456789abcde", "is too short to be safe"),
        GIVEN("WEBHOOK_SECRET", "0123456789abcde", "is too short; allowed"),
        GIVEN("WEBHOOK_SECRET", LONG_256 "x", "is too long"),
        GIVEN("WEBHOOK_SECRET", " " SECRET, "begins or ends with a blank"),
        GIVEN("WEBHOOK_SECRET", SECRET " ", "begins or ends with a blank"),
        GIVEN("WEBHOOK_SECRET", SECRET "\n", "control character"),
        GIVEN("WEBHOOK_SECRET", "dev-unsafe-hmac-secret-change-in-production", "published example"),
        GIVEN("WEBHOOK_API_SECRET", "dev-unsafe-api-secret-change-in-production", "published"),
        GIVEN("WEBHOOK_API_SECRET", "your-api-key-here", "published example"),
        GIVEN("WEBHOOK_API_SECRET", "changeme", "published example"),
        GIVEN("WEBHOOK_INTAKE_TOKEN", "0123456789abcdef0123456789abcde", "is too short"),
#undef GIVEN
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        const char *faults =
            refused(CFG_PRODUCER, NULL, ENV(bad[i].var, "SEARCH_BRIDGE_WEBHOOK_SECRET=" SECRET));
        cr_assert(strstr(faults, bad[i].says), "case %zu: %s", i, faults);
        cr_assert(!strstr(faults, bad[i].value), "case %zu: %s", i, faults);
        cr_assert_eq(lines_of(faults), 1, "%s", faults);
    }
    const char *empty =
        refused(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET=" SECRET, "WEBHOOK_INTAKE_TOKEN="));
    cr_assert(strstr(empty, "WEBHOOK_INTAKE_TOKEN in the environment: is empty"), "%s", empty);
}

Test(config, the_secret_of_those_who_look_is_another_one)
{
    const char *faults = refused(CFG_PRODUCER, NULL,
        ENV("WEBHOOK_SECRET=" SECRET, "WEBHOOK_API_SECRET=" SECRET "api",
            "WEBHOOK_API_SECRET_READONLY=" SECRET "api"));
    cr_assert(strstr(faults, "WEBHOOK_API_SECRET_READONLY: is the same as WEBHOOK_API_SECRET"),
        "%s", faults);
    cr_assert(!strstr(faults, SECRET), "%s", faults);
    cr_assert_eq(lines_of(faults), 1, "%s", faults);
    struct config cfg = loaded(CFG_PRODUCER, NULL,
        ENV("WEBHOOK_SECRET=" SECRET, "WEBHOOK_API_SECRET=" SECRET "api",
            "WEBHOOK_API_SECRET_READONLY=" SECRET "look"));
    cr_assert_str_eq(cfg.api_secret_readonly, SECRET "look");
    config_release(&cfg);
    refused(CFG_PRODUCER, NULL,
        ENV("WEBHOOK_SECRET=" SECRET, "WEBHOOK_API_SECRET_READONLY=0123456789abcdef"));
}

Test(config, secrets_are_accepted_at_their_bounds)
{
    struct config cfg = loaded(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET=" LONG_256));
    config_release(&cfg);
    cfg = loaded(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET=" SECRET, "WEBHOOK_INTAKE_TOKEN=" SECRET));
    cr_assert_str_eq(cfg.intake_token, SECRET);
    config_release(&cfg);
}

Test(config, test_mode_waives_strength_but_not_length_and_blanks)
{
    struct config cfg = loaded(CFG_PRODUCER, NULL,
        ENV("WEBHOOK_SECRET=0123456789abcdef", "WEBHOOK_API_SECRET=changeme",
            "WEBHOOK_TEST_MODE=1"));
    cr_assert_str_eq(cfg.webhook_secret, "0123456789abcdef");
    config_release(&cfg);
    refused(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET=0123456789abcde", "WEBHOOK_TEST_MODE=1"));
    refused(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET=0123456789abcdef ", "WEBHOOK_TEST_MODE=1"));
}

Test(config, passwords_in_bad_urls_are_not_shown)
{
    const char *faults = refused(CFG_WORKER, NULL,
        ENV("REDIS_URL=http://u:hunter2@h", "DATABASE_URL=mysql://u:hunter2@h",
            "FIRECRAWL_API_URL=ftp://u:hunter2@h", "WEBHOOK_FIRECRAWL_API_KEY=hunter2\t"));
    cr_assert_eq(lines_of(faults), 4, "%s", faults);
    cr_assert(!strstr(faults, "hunter2"), "%s", faults);
}

Test(config, printing_masks_secrets_and_names_origins)
{
    struct config cfg = loaded(CFG_ALL, NULL,
        ENV("WEBHOOK_SECRET=" SECRET, "REDIS_URL=redis://u:hunter2@h/1",
            "WEBHOOK_FIRECRAWL_PROXY=", "WEBHOOK_FIRECRAWL_API_KEY=hunter2",
            "WEBHOOK_SPOOL_DIR=/a b/\"c\"", "DATABASE_URL=postgresql+asyncpg://u:hunter2@h/d"));
    const char *got = printed(&cfg, CFG_ALL);
    cr_assert(!strstr(got, "hunter2"), "%s", got);
    cr_assert(!strstr(got, SECRET), "%s", got);
    static const char *const want[] = {
        "\nWEBHOOK_SECRET=*** # WEBHOOK_SECRET in the environment\n",
        "\nWEBHOOK_REDIS_URL=redis://u:***@h/1 # REDIS_URL in the environment\n",
        "\nWEBHOOK_DATABASE_URL=postgresql://u:***@h/d # DATABASE_URL in the environment\n",
        "\nWEBHOOK_FIRECRAWL_API_KEY=*** # ",
        "\nWEBHOOK_FIRECRAWL_PROXY= # WEBHOOK_FIRECRAWL_PROXY in the environment\n",
        "\nWEBHOOK_SPOOL_DIR=\"/a b/\\\"c\\\"\" # ",
        "\nWEBHOOK_PORT=52100 # default\n",
        "\n#WEBHOOK_INTAKE_TOKEN= # not set\n",
        "\nWEBHOOK_JOB_TIMEOUT=15m # default\n",
        "\nWEBHOOK_ACK=both # default\n",
        "\nWEBHOOK_DB_PREPARED=on # default\n",
    };
    for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++)
        cr_assert(strstr(got, want[i]), "%s not in\n%s", want[i], got);
    cr_assert(!strstr(printed(&cfg, CFG_WORKER), "WEBHOOK_PORT"), "the worker has no port");
    config_release(&cfg);
}

/* --- files ------------------------------------------------------------------------------- */

Test(config_files, the_environment_wins_over_the_file_and_the_file_over_dotenv)
{
    write_file("a.conf", "WEBHOOK_CONCURRENCY=2\nWEBHOOK_WORKERS=2\n");
    write_file(".env", "WEBHOOK_CONCURRENCY=3\nWEBHOOK_WORKERS=3\nWEBHOOK_MAX_STARTS=3\n");
    struct config cfg = loaded(CFG_WORKER, "a.conf", ENV("WEBHOOK_CONCURRENCY=1"));
    cr_assert_eq(cfg.concurrency, 1);
    cr_assert_eq(cfg.workers, 2);
    cr_assert_eq(cfg.max_starts, 3);
    const char *got = printed(&cfg, CFG_WORKER);
    cr_assert(strstr(got, "WEBHOOK_WORKERS=2 # WEBHOOK_WORKERS in a.conf line 2\n"), "%s", got);
    cr_assert(strstr(got, "WEBHOOK_MAX_STARTS=3 # WEBHOOK_MAX_STARTS in .env line 3\n"), "%s", got);
    config_release(&cfg);
}

Test(config_files, an_alias_in_the_environment_wins_over_the_first_name_in_a_file)
{
    write_file(".env", "WEBHOOK_REDIS_URL=redis://file\n");
    struct config cfg = loaded(CFG_CTL, NULL, ENV("REDIS_URL=redis://environment"));
    cr_assert_str_eq(cfg.redis_url, "redis://environment");
    config_release(&cfg);
}

Test(config_files, a_missing_dotenv_or_a_folder_of_that_name_is_no_fault)
{
    struct config cfg = loaded(CFG_CTL, NULL, ENV("HOME=/"));
    config_release(&cfg);
    cr_assert_eq(system("mkdir .env"), 0);
    cfg = loaded(CFG_CTL, NULL, ENV("HOME=/"));
    config_release(&cfg);
}

Test(config_files, a_config_file_that_cannot_be_read_is_a_fault)
{
    const char *faults = refused(CFG_CTL, "absent.conf", ENV("HOME=/"));
    cr_assert_str_eq(faults, "absent.conf: cannot be opened: No such file or directory\n");
    faults = refused(CFG_CTL, "/", ENV("HOME=/"));
    cr_assert_str_eq(faults, "/: cannot be read: Is a directory\n");
}

Test(config_files, a_file_may_be_large_but_not_without_end)
{
    struct buf text = {0};
    buf_puts(&text, "WEBHOOK_PORT=7\n#");
    while (text.len < ENVFILE_MAX)
        buf_putc(&text, 'x');
    write_bytes("a.conf", text.data, text.len);
    struct config cfg = loaded(CFG_CTL, "a.conf", ENV("HOME=/"));
    cr_assert_eq(cfg.port, 7);
    config_release(&cfg);
    buf_putc(&text, 'x');
    write_bytes("a.conf", text.data, text.len);
    cr_assert_str_eq(
        refused(CFG_CTL, "a.conf", ENV("HOME=/")), "a.conf: is larger than 1048576 bytes\n");
    buf_release(&text);
}

static const char *value_in(const char *line)
{
    struct env_vars vars = {0};
    struct buf faults = {0};
    write_file("a.conf", line);
    cr_assert(envfile_load(&vars, "a.conf", &faults), "%s: %s", line, buf_str(&faults));
    cr_assert_eq(vars.len, 1, "%s", line);
    cr_assert_str_eq(vars.list[0].name, "A", "%s", line);
    const char *value = keep(mem_strdup(vars.list[0].value));
    env_vars_release(&vars);
    return value;
}

Test(config_files, lines_are_read_as_systemd_and_dotenv_do)
{
    static const struct {
        const char *line, *value;
    } good[] = {
        {"A=b",                             "b"                },
        {"A=b\n",                           "b"                },
        {"A=b\r\n",                         "b"                },
        {"\xef\xbb\xbf"
         "A=b\n",                  "b"                },
        {"  A = b c  \n",                   "b c"              },
        {"export A=b",                      "b"                },
        {"export\tA=b",                     "b"                },
        {"A=",                              ""                 },
        {"A=  \n",                          ""                 },
        {"A=''",                            ""                 },
        {"A=\"\"",                          ""                 },
        {"A=b=c==",                         "b=c=="            },
        {"A=b#c",                           "b#c"              },
        {"A=b # c",                         "b"                },
        {"A= # c",                          ""                 },
        {"A=#c",                            ""                 },
        {"A='b # c' # d",                   "b # c"            },
        {"A=\" b \"",                       " b "              },
        {"A='a\"b\\c$d'",                   "a\"b\\c$d"        },
        {"A=\"a\\\"b\\\\c\\$d\\`e\\nf'g\"", "a\"b\\c$d`e\\nf'g"},
        {"A=$HOME",                         "$HOME"            },
        {"A=it's",                          "it's"             },
        {"A=b\\",                           "b\\"              },
        {"# x\n\n  ; y\n \t\nA=b\n#",       "b"                },
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        cr_assert_str_eq(value_in(good[i].line), good[i].value, "%s", good[i].line);
}

Test(config_files, malformed_lines_are_faults_with_their_number_and_without_their_text)
{
    static const struct {
        const char *line, *says;
    } bad[] = {
        {"hunter2",         "a.conf line 2: not of the form NAME=value\n"          },
        {"=hunter2",        "a.conf line 2: not of the form NAME=value\n"          },
        {"A B=hunter2",     "a.conf line 2: not of the form NAME=value\n"          },
        {"export=",         NULL                                                   },
        {"export A",        "a.conf line 2: not of the form NAME=value\n"          },
        {"A='hunter2",      "a.conf line 2: the quote is not closed on this line\n"},
        {"A=\"hunter2\\\"", "a.conf line 2: the quote is not closed on this line\n"},
        {"A='hunter2'x",    "a.conf line 2: something follows the closing quote\n" },
        {"A=\"hunter2\"#x", "a.conf line 2: something follows the closing quote\n" },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct env_vars vars = {0};
        struct buf faults = {0};
        char *text = mem_printf("X=1\n%s\nY=2\n", bad[i].line);
        write_file("a.conf", text);
        cr_assert_eq(envfile_load(&vars, "a.conf", &faults), !bad[i].says, "%s", bad[i].line);
        cr_assert_str_eq(buf_str(&faults), bad[i].says ? bad[i].says : "");
        cr_assert_eq(vars.len, bad[i].says ? 2 : 3, "the other lines are read");
        env_vars_release(&vars);
        buf_release(&faults);
        free(text);
    }
}

Test(config_files, faults_of_files_and_of_values_are_reported_together)
{
    write_file("a.conf", "nonsense\nWEBHOOK_WORKERS=x\n'\n");
    const char *faults = refused(CFG_WORKER, "a.conf", ENV("WEBHOOK_CONCURRENCY=0"));
    cr_assert_eq(lines_of(faults), 4, "%s", faults);
    cr_assert(strstr(faults, "WEBHOOK_WORKERS in a.conf line 2: \"x\" is malformed"), "%s", faults);
}

Test(config_files, nul_bytes_are_refused)
{
    write_bytes("a.conf", "A=b\0c\n", 6);
    cr_assert_str_eq(refused(CFG_CTL, "a.conf", ENV("HOME=/")), "a.conf: holds a NUL byte\n");
}

Test(config_files, the_last_of_repeated_names_counts)
{
    write_file(".env", "WEBHOOK_MAX_STARTS=3\nWEBHOOK_MAX_STARTS=4\n");
    struct config cfg = loaded(CFG_WORKER, NULL, ENV("HOME=/"));
    cr_assert_eq(cfg.max_starts, 4);
    config_release(&cfg);
}

Test(config_files, a_twin_gives_the_value_in_a_file)
{
    write_file("secret", SECRET "\n");
    struct config cfg = loaded(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET_FILE=secret"));
    cr_assert_str_eq(cfg.webhook_secret, SECRET);
    const char *got = printed(&cfg, CFG_PRODUCER);
    cr_assert(
        strstr(got, "WEBHOOK_SECRET=*** # WEBHOOK_SECRET_FILE in the environment\n"), "%s", got);
    config_release(&cfg);

    write_file(".env", "search_bridge_webhook_secret_file=secret\n");
    cfg = loaded(CFG_PRODUCER, NULL, ENV("HOME=/"));
    cr_assert_str_eq(cfg.webhook_secret, SECRET);
    config_release(&cfg);
}

Test(config_files, a_twin_that_cannot_be_used_is_a_fault)
{
    const char *faults = refused(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET_FILE=" SECRET));
    cr_assert_str_eq(faults, "WEBHOOK_SECRET_FILE in the environment: the file cannot be opened: "
                             "No such file or directory\n");
    write_file("secret", SECRET);
    faults =
        refused(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET_FILE=secret", "WEBHOOK_SECRET=" SECRET));
    cr_assert_str_eq(faults, "WEBHOOK_SECRET in the environment: WEBHOOK_SECRET_FILE is given too; "
                             "keep one of the two\n");
    write_file("secret", "");
    faults = refused(CFG_PRODUCER, NULL, ENV("WEBHOOK_SECRET_FILE=secret"));
    cr_assert(strstr(faults, "WEBHOOK_SECRET_FILE in the environment: is empty"), "%s", faults);
}

/* --- texts ------------------------------------------------------------------------------- */

static const char *whole_file(const char *path)
{
    struct buf b = {0};
    struct hl_err err;
    cr_assert_eq(envfile_read(path, ENVFILE_MAX, &b, &err), HL_OK, "%s: %s", path, err.msg);
    return keep(buf_detach(&b));
}

Test(config, the_committed_sample_is_what_the_table_says)
{
    struct buf want = {0};
    config_sample(&want);
    const char *got = whole_file("deploy/hookline.conf");
    cr_assert(strcmp(got, buf_str(&want)) == 0,
        "deploy/hookline.conf is not what config_sample() writes");
    buf_release(&want);
}

/* Every default of the sample, uncommented, gives the same configuration as none of them. */
Test(config_files, the_sample_with_its_comments_taken_off_loads)
{
    struct buf sample = {0}, text = {0};
    config_sample(&sample);
    for (const char *p = sample.data; *p;) {
        size_t len = strcspn(p, "\n") + 1;
        if (strncmp(p, "#WEBHOOK_", 9) == 0 && p[len - 2] != '=')
            buf_append(&text, p + 1, len - 1);
        p += len;
    }
    cr_assert_gt(lines_of(buf_str(&text)), 40);
    write_file("a.conf", buf_str(&text));
    struct config cfg = loaded(CFG_ALL, "a.conf", ENV("WEBHOOK_SECRET=" SECRET));
    cr_assert_eq(cfg.port, 52100);
    config_release(&cfg);
    buf_release(&sample);
    buf_release(&text);
}

Test(config, help_names_every_setting_of_the_program_and_no_other)
{
    static const int programs[] = {CFG_PRODUCER, CFG_WORKER, CFG_CTL};
    for (int p = 0; p < 3; p++) {
        struct buf out = {0};
        config_help(programs[p], &out);
        for (size_t i = 0; i < NSETTINGS; i++) {
            const struct setting *s = &settings[i];
            char *head = mem_printf("  %.*s", (int)strcspn(s->names, " "), s->names);
            const char *at = strstr(buf_str(&out), head);
            while (at && at[strlen(head)] != '\n' && at[strlen(head)] != ',')
                at = strstr(at + 1, head);
            cr_assert_eq(at != NULL, (s->users & programs[p]) != 0, "%s", head);
            free(head);
        }
        buf_release(&out);
    }
}

/* --- durations, sizes, command line ------------------------------------------------------ */

Test(config, durations_and_sizes_are_read_exactly)
{
    static const struct {
        const char *text;
        int64_t ms, bytes; /* -1 = malformed */
    } cases[] = {
        {"0",                   0,       0               },
        {"90",                  90000,   90              },
        {"250ms",               250,     -1              },
        {"15s",                 15000,   -1              },
        {"15m",                 900000,  15 << 20        },
        {"1h",                  3600000, -1              },
        {"2k",                  -1,      2048            },
        {"2G",                  -1,      INT64_C(2) << 30},
        {"",                    -1,      -1              },
        {"m",                   -1,      -1              },
        {"-1",                  -1,      -1              },
        {"+1",                  -1,      -1              },
        {" 1",                  -1,      -1              },
        {"1 m",                 -1,      -1              },
        {"1.5m",                -1,      -1              },
        {"1mm",                 -1,      -1              },
        {"1d",                  -1,      -1              },
        {"999999999999999999h", -1,      -1              },
        {"999999999999999999g", -1,      -1              },
        {"9223372036854775808", -1,      -1              },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int64_t ms = -1, bytes = -1;
        cr_assert_eq(config_duration(cases[i].text, &ms), cases[i].ms >= 0, "%s", cases[i].text);
        cr_assert_eq(config_size(cases[i].text, &bytes), cases[i].bytes >= 0, "%s", cases[i].text);
        if (cases[i].ms >= 0)
            cr_assert_eq(ms, cases[i].ms, "%s", cases[i].text);
        if (cases[i].bytes >= 0)
            cr_assert_eq(bytes, cases[i].bytes, "%s", cases[i].text);
    }
}

Test(config, common_options_are_taken_and_the_rest_is_left)
{
    struct config_args args;
    char *argv[] = {"hooklinectl", "-h", "-V", "--print-config", "--config", "a.conf", "status",
        "--help", NULL};
    cr_assert_eq(config_args(8, argv, &args, NULL), HL_OK);
    cr_assert(args.help && args.version && args.print_config);
    cr_assert_str_eq(args.config_file, "a.conf");
    cr_assert_eq(args.rest, 6);

    char *other[] = {"hookline-worker", "--config=b.conf", "--help", "--version", NULL};
    cr_assert_eq(config_args(4, other, &args, NULL), HL_OK);
    cr_assert(args.help && args.version && !args.print_config);
    cr_assert_str_eq(args.config_file, "b.conf");
    cr_assert_eq(args.rest, 4);

    char *none[] = {"hookline-worker", NULL};
    cr_assert_eq(config_args(1, none, &args, NULL), HL_OK);
    cr_assert_null(args.config_file);
    cr_assert_eq(args.rest, 1);
}

Test(config, the_config_option_needs_a_file)
{
    struct config_args args;
    struct hl_err err;
    char *bare[] = {"x", "--config", NULL}, *empty[] = {"x", "--config=", NULL};
    cr_assert_eq(config_args(2, bare, &args, &err), HL_FATAL);
    cr_assert_str_eq(err.msg, "--config needs the name of a file");
    cr_assert_eq(config_args(2, empty, &args, &err), HL_FATAL);
}
