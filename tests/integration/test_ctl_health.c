/* hooklinectl health: what the check of a container says of programs that are well, are not, hang, or are
 * not there. */
#include "tests/support/canned.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

TestSuite(ctl_health, .timeout = 60);

enum { SOON = 20000 };

static const char *out; /* of the last run */

/* words: "health worker --ready"; the ports of both programs. */
static int health(int producer_port, int worker_port, const char *words)
{
    struct test_proc *p =
        test_proc_start((const char *const[]){"/bin/sh", "-c",
                            harness_text("exec %s %s", rig_program("hooklinectl"), words), NULL},
            RIG_ENV(harness_text("WEBHOOK_PORT=%d", producer_port), "WEBHOOK_ADMIN_HOST=127.0.0.1",
                harness_text("WEBHOOK_ADMIN_PORT=%d", worker_port)),
            -1);
    int code = test_proc_wait(p, SOON);
    out = test_proc_log(p);
    return code;
}

static bool answer(const struct canned_request *r)
{
    static const char unwell[] = "the supervisor has not come round for 12.0 s\n";
    const char *how = r->ctx;
    if (strcmp(how, "hangs") == 0)
        return true;
    if (strcmp(how, "strange") == 0)
        canned_answer(r, 404, "", "{\"detail\":\"Not Found\"}");
    else if (strcmp(how, "unwell") == 0)
        canned_answer(r, 503, "", unwell);
    else if (strcmp(how, "busy") == 0 && canned_path_is(r, "/readyz"))
        canned_answer(r, 503, "", "draining\n");
    else
        canned_answer(r, 200, "", "ok\n");
    return true;
}

static int port_of(const char *how)
{
    return strcmp(how, "away") == 0 ? harness_free_port()
                                    : canned_port(canned_start("127.0.0.1", answer, (void *)how));
}

Test(ctl_health, says_who_is_not_well_and_why)
{
    static const struct {
        const char *producer, *worker, *words;
        int code;
        const char *says;
    } rows[] = {
        {"well",    "away",   "health",                        0,   "producer: ok"            },
        {"away",    "well",   "health",                        0,   "worker: ok"              },
        {"well",    "well",   "health worker",                 0,   "worker: ok"              },
        {"well",    "unwell", "health",                        1,   "has not come round"      },
        {"well",    "unwell", "health producer",               0,   "producer: ok"            },
        {"busy",    "away",   "health",                        0,   "producer: ok"            },
        {"busy",    "away",   "health --ready",                1,   "draining"                },
        {"away",    "away",   "health",                        69,  "Does it run on this host"},
        {"well",    "away",   "health worker",                 69,  "worker (port "           },
        {"hangs",   "well",   "health --timeout 300ms",        124, "timed out"               },
        {"hangs",   "unwell", "health worker --timeout 300ms", 1,   "has not come round"      },
        {"strange", "away",   "health",                        1,   "something else"          },
        {"away",    "away",   "health postman",                64,  "no program 'postman'"    },
        {"away",    "away",   "health producer worker",        64,  "one word"                },
        {"away",    "away",   "health --timeout 0",            64,  "100ms"                   },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        int code = health(port_of(rows[i].producer), port_of(rows[i].worker), rows[i].words);
        cr_expect_eq(code, rows[i].code, "%zu: %d\n%s", i, code, out);
        cr_expect(strstr(out, rows[i].says), "%zu: %s", i, out);
    }
}

Test(ctl_health, a_port_that_nobody_knows_is_said)
{
    cr_expect_eq(health(0, 0, "health"), 69);
    cr_expect(
        strstr(out, "WEBHOOK_PORT is 0") && strstr(out, "WEBHOOK_ADMIN_PORT is 0"), "%s", out);
}

Test(ctl_health, real_programs_are_well_until_they_are_stopped)
{
    struct rig r = {0};
    int port = harness_free_port();
    rig_start(&r);
    struct test_proc *worker = rig_fleet(&r, 1,
        RIG_ENV(harness_text("WEBHOOK_ADMIN_PORT=%d", port), "WEBHOOK_ADMIN_HOST=127.0.0.1"));
    WAIT_FOR(health(r.producer_port, port, "health worker --ready") == 0, SOON);
    cr_expect_eq(health(r.producer_port, port, "health producer --ready"), 0, "%s", out);

    kill(test_proc_pid(worker), SIGTERM);
    cr_expect_eq(test_proc_wait(worker, SOON), 0, "%s", test_proc_log(worker));
    cr_expect_eq(health(r.producer_port, port, "health worker"), 69, "%s", out);
    cr_expect_eq(health(r.producer_port, port, "health"), 0, "%s", out);
}
