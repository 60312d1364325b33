/* hooklinectl config: what is in effect, from where, and whether the programs would start. */
#include "tests/support/harness.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(ctl_config, .timeout = 60);

#define SECRET "one-of-forty-characters-that-nobody-knows"

static const char *out; /* of the last command */

#define WORDS(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static int run(const char *const *args, const char *const *env)
{
    const char *argv[12] = {harness_text("%s/hooklinectl", harness_build())};
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    struct test_proc *p = test_proc_start(argv, env, -1);
    int code = test_proc_wait(p, 20000);
    out = test_proc_log(p);
    return code;
}

static json_t *answer(void)
{
    struct hl_err err;
    json_t *root = json_parse(out, strlen(out), &err);
    cr_assert(root, "%s: %s", err.msg, out);
    cr_expect_eq(json_integer_value(json_object_get(root, "version")), 1);
    return root;
}

static const json_t *setting(const json_t *root, const char *name)
{
    const json_t *all = json_object_get(root, "settings"), *found = NULL;
    for (size_t i = 0; i < json_array_size(all); i++)
        if (strcmp(json_get_string(json_array_get(all, i), "name"), name) == 0)
            found = json_array_get(all, i);
    cr_assert(found, "%s is not in %s", name, out);
    return found;
}

static const char *file_of(const char *text)
{
    const char *path = harness_text("%s/hookline.conf", harness_dir());
    FILE *f = fopen(path, "w");
    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
    return path;
}

Test(ctl_config, shows_each_setting_with_where_it_came_from_and_no_secret)
{
    const char *path = file_of("WEBHOOK_DB_POOL_SIZE=7\nWEBHOOK_SECRET=" SECRET "\n");
    cr_assert_eq(run(WORDS("--config", path, "config", "--json"),
                     WORDS("WEBHOOK_REDIS_URL=redis://me:hushhush@r:1",
                         "DATABASE_URL=postgresql://u:hushhush@h/d")),
        0, "%s", out);
    cr_expect_null(strstr(out, SECRET), "%s", out);
    cr_expect_null(strstr(out, "hushhush"), "%s", out);
    json_t *root = answer();
    const json_t *pool = setting(root, "WEBHOOK_DB_POOL_SIZE");
    cr_expect_str_eq(json_get_string(pool, "value"), "7");
    cr_expect(strstr(json_get_string(pool, "origin"), "hookline.conf line 1"), "%s", out);
    cr_expect_str_eq(json_get_string(pool, "used_by"), "producer, worker");
    cr_expect_str_eq(json_get_string(pool, "default"), "20");
    const json_t *secret = setting(root, "WEBHOOK_SECRET");
    cr_expect_str_eq(json_get_string(secret, "value"), "***");
    cr_expect(json_is_true(json_object_get(secret, "secret")));
    cr_expect_str_eq(json_get_string(setting(root, "WEBHOOK_DATABASE_URL"), "origin"),
        "DATABASE_URL in the environment");
    cr_expect(json_is_null(json_object_get(setting(root, "WEBHOOK_API_SECRET"), "value")));
    cr_expect_str_eq(json_get_string(setting(root, "WEBHOOK_LEASE_SECONDS"), "origin"), "default");
    cr_expect_eq(json_array_size(json_object_get(root, "faults")), 0, "%s", out);
    json_decref(root);
}

Test(ctl_config, takes_names_in_any_case_and_aliases_too)
{
    cr_assert_eq(
        run(WORDS("config", "webhook_port", "SEARCH_BRIDGE_LOG_LEVEL"), NULL), 0, "%s", out);
    cr_expect(strstr(out, "WEBHOOK_PORT "), "%s", out);
    cr_expect(strstr(out, "WEBHOOK_LOG_LEVEL "), "%s", out);
    cr_expect_null(strstr(out, "WEBHOOK_HOST "), "%s", out);
    cr_expect_eq(run(WORDS("config", "WEBHOOK_PROT"), NULL), 64, "%s", out);
    cr_expect(strstr(out, "WEBHOOK_PROT is no setting"), "%s", out);
    cr_expect_eq(run(WORDS("config", "--for", "worker", "WEBHOOK_HOST"), NULL), 64, "%s", out);
}

Test(ctl_config, shows_what_is_usable_when_something_is_not)
{
    const char *const env[] = {"WEBHOOK_SECRET=" SECRET, "WEBHOOK_PORT=many", NULL};
    cr_assert_eq(run(WORDS("config", "--json"), env), 0, "%s", out);
    json_t *root = answer();
    const json_t *port = setting(root, "WEBHOOK_PORT");
    cr_expect_str_eq(json_get_string(port, "value"), "52100");
    cr_expect(strstr(json_get_string(port, "origin"), "faulty"), "%s", out);
    const json_t *faults = json_object_get(root, "faults");
    cr_expect_eq(json_array_size(faults), 1, "%s", out);
    cr_expect(strstr(json_string_value(json_array_get(faults, 0)), "WEBHOOK_PORT"), "%s", out);
    json_decref(root);
}

Test(ctl_config, check_says_which_program_would_not_start_and_why)
{
    cr_expect_eq(run(WORDS("config", "--check"), NULL), 1, "%s", out);
    cr_expect(strstr(out, "producer: would not start\n  WEBHOOK_SECRET: is needed"), "%s", out);
    cr_expect(strstr(out, "worker: fine\n"), "%s", out);
    cr_expect_eq(run(WORDS("config", "--check", "--for", "worker"), NULL), 0, "%s", out);
    cr_expect_eq(run(WORDS("config", "--check"), WORDS("WEBHOOK_SECRET=" SECRET)), 0, "%s", out);

    const char *const env[] = {"WEBHOOK_SECRET=" SECRET, "WEBHOOK_JOB_TIMEOUT=10s", NULL};
    cr_expect_eq(run(WORDS("config", "--check", "--json"), env), 1, "%s", out);
    json_t *root = answer();
    const json_t *programs = json_object_get(root, "programs");
    cr_expect_eq(json_array_size(programs), 3, "%s", out);
    cr_expect_eq(json_array_size(json_object_get(json_array_get(programs, 0), "faults")), 0);
    cr_expect_str_eq(json_get_string(json_array_get(programs, 1), "program"), "worker");
    cr_expect_gt(json_array_size(json_object_get(json_array_get(programs, 1), "faults")), 0);
    json_decref(root);
    cr_expect_eq(run(WORDS("config", "--check", "WEBHOOK_PORT"), NULL), 64, "%s", out);
    cr_expect_eq(run(WORDS("config", "--for", "everybody"), NULL), 64, "%s", out);
}
