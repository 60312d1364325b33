/* What an SQLSTATE means to the caller, and what a database URL must look like. */
#include "io/db_conn.h"

#include <criterion/criterion.h>
#include <string.h>

Test(db_classify, sqlstate_says_what_the_caller_can_do)
{
    static const struct {
        const char *sqlstate;
        enum hl_rc rc;
    } rows[] = {
        {"40001", HL_RETRY },
        {"40P01", HL_RETRY },
        {"55P03", HL_RETRY },
        {"57P01", HL_RETRY },
        {"57P02", HL_RETRY },
        {"57P03", HL_RETRY },
        {"57014", HL_RETRY },
        {"53300", HL_RETRY },
        {"53100", HL_RETRY },
        {"53200", HL_RETRY },
        {"25006", HL_RETRY },
        {"08006", HL_RETRY },
        {"26000", HL_RETRY },
        {"58030", HL_RETRY },
        {"08007", HL_UNSURE},
        {"40003", HL_UNSURE},
        {"",      HL_UNSURE},
        {NULL,    HL_UNSURE},
        {"22001", HL_FATAL },
        {"22P02", HL_FATAL },
        {"23505", HL_FATAL },
        {"40002", HL_FATAL },
        {"42P01", HL_FATAL },
        {"42501", HL_FATAL },
        {"55000", HL_FATAL },
        {"57000", HL_FATAL },
        {"P0001", HL_FATAL },
        {"XX000", HL_FATAL },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        cr_expect_eq(db_classify(rows[i].sqlstate), rows[i].rc, "%s: %s",
            rows[i].sqlstate ? rows[i].sqlstate : "NULL",
            hl_rc_name(db_classify(rows[i].sqlstate)));
}

static struct db_settings *parse(const char *url, struct hl_err *err)
{
    const struct db_conf conf = {.url = url,
        .application_name = "hookline-test",
        .connect_timeout_ms = 5000,
        .statement_timeout_ms = 7000};
    return db_settings_new(&conf, err);
}

static const char *value(const struct db_settings *s, const char *keyword)
{
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->keywords[i], keyword) == 0)
            return s->values[i];
    return "(none)";
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

Test(db_settings, hosts_are_taken_apart_and_only_names_are_looked_up)
{
    static const struct {
        const char *url;
        int nhosts;
        struct db_host last;
    } rows[] = {
        {"postgresql://u@db.example/x",                1, {"db.example", NULL, NULL, true}     },
        {"postgresql://u@db.example:5433/x",           1, {"db.example", NULL, "5433", true}   },
        {"postgres://10.0.0.1/x",                      1, {"10.0.0.1", "10.0.0.1", NULL, false}},
        {"postgresql://[::1]:5/x",                     1, {"::1", "::1", "5", false}           },
        {"postgresql://%2Frun%2Fpg/x",                 1, {"/run/pg", NULL, NULL, false}       },
        {"postgresql:///x?host=/run/pg&port=7",        1, {"/run/pg", NULL, "7", false}        },
        {"postgresql://a:1,b:2/x",                     2, {"b", NULL, "2", true}               },
        {"postgresql://a,b,c/x?port=9",                3, {"c", NULL, "9", true}               },
        {"postgresql://a:1,b/x",                       2, {"b", NULL, NULL, true}              },
        {"host=a,b hostaddr=1.2.3.4,5.6.7.8 dbname=x", 2, {"b", "5.6.7.8", NULL, false}        },
        {"hostaddr=1.2.3.4,5.6.7.8 port=1,2 dbname=x", 2, {NULL, "5.6.7.8", "2", false}        },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hl_err err = {0};
        struct db_settings *s = parse(rows[i].url, &err);
        cr_assert(s, "%s: %s", rows[i].url, err.msg);
        const struct db_host *want = &rows[i].last, *h = &s->hosts[s->nhosts - 1];
        cr_expect_eq(s->nhosts, rows[i].nhosts, "%s", rows[i].url);
        cr_expect(same(h->name, want->name) && same(h->address, want->address) &&
                      same(h->port, want->port) && h->look_up == want->look_up,
            "%s: %s %s %s %d", rows[i].url, h->name, h->address, h->port, h->look_up);
        db_settings_free(s);
    }
}

Test(db_settings, defaults_stand_back_behind_the_url)
{
    struct db_settings *s = parse("postgresql://u@h/x", NULL);
    cr_assert(s);
    cr_expect_str_eq(value(s, "target_session_attrs"), "read-write");
    cr_expect_str_eq(value(s, "application_name"), "hookline-test");
    cr_expect_str_eq(value(s, "tcp_user_timeout"), "7000");
    cr_expect_str_eq(value(s, "keepalives_idle"), "10");
    cr_expect_str_eq(value(s, "host"), "(none)", "the place is given with each attempt");
    cr_expect_eq(s->connect_timeout_ms, 5000);
    db_settings_free(s);

    s = parse("postgresql://u@h/x?target_session_attrs=any&connect_timeout=2&keepalives_idle=60"
              "&application_name=mine",
        NULL);
    cr_assert(s);
    cr_expect_str_eq(value(s, "target_session_attrs"), "any");
    cr_expect_str_eq(value(s, "application_name"), "mine");
    cr_expect_str_eq(value(s, "keepalives_idle"), "60");
    cr_expect_eq(s->connect_timeout_ms, 2000);
    db_settings_free(s);
}

Test(db_settings, a_bad_url_is_explained_without_its_password)
{
    static const struct {
        const char *url, *says;
    } rows[] = {
        {"postgresql://u:s3cret@h/x?ssl=require",        "\"ssl\""            },
        {"postgresql://u:s3cret@[::1/x",                 "end of string"      },
        {"postgresql://u:s3cret%zz@h/x",                 "percent-encoded"    },
        {"postgresql://u:p/a?s3cret=1@h/x",              "query parameter"    },
        {"postgresql://u:s3cret/ss@h/x",                 "port"               },
        {"postgresql://u:s3cret@h:70000/x",              "port"               },
        {"postgresql://u:s3cret@a:1,b:2,c:3/x?port=1,2", "3 hosts but 2 ports"},
        {"host=a,b hostaddr=1.2.3.4 password=s3cret",    "hostaddr"           },
        {"mysql:s3cret",                                 "database URL"       },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hl_err err = {0};
        cr_expect_null(parse(rows[i].url, &err), "%s", rows[i].url);
        cr_expect_eq(err.rc, HL_FATAL);
        cr_expect(strstr(err.msg, rows[i].says), "%s: %s", rows[i].url, err.msg);
        cr_expect_null(strstr(err.msg, "s3cret"), "%s: %s", rows[i].url, err.msg);
    }
}
