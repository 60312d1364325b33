/* Identifiers: versions, order, text form, no repeats across a fork. */
#include "base/uuid.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

Test(uuid, text_form_goes_both_ways)
{
    struct uuid u = {{0}}, back;
    char s[UUID_STRLEN + 1];
    for (int i = 0; i < 16; i++)
        u.b[i] = (uint8_t)(i * 17);
    uuid_format(&u, s);
    cr_expect_str_eq(s, "00112233-4455-6677-8899-aabbccddeeff");
    cr_assert(uuid_parse(s, &back));
    cr_expect(uuid_equal(&u, &back));
    cr_assert(uuid_parse("00112233-4455-6677-8899-AaBbCcDdEeFf", &back));
    cr_expect(uuid_equal(&u, &back));
    back.b[15] ^= 1;
    cr_expect_not(uuid_equal(&u, &back));
}

Test(uuid, anything_else_is_refused_and_leaves_the_output_alone)
{
    static const char *const bad[] = {"", "x", "00112233445566778899aabbccddeeff",
        "{00112233-4455-6677-8899-aabbccddeeff}", "00112233-4455-6677-8899-aabbccddeef",
        "00112233-4455-6677-8899-aabbccddeefff", "00112233-4455-6677-8899-aabbccddeefg",
        "001122334-455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddee-f",
        "00112233_4455_6677_8899_aabbccddeeff", " 0112233-4455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-aabbccddee\xc3\xa9"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct uuid u = {{42}};
        cr_expect_not(uuid_parse(bad[i], &u), "%s", bad[i]);
        cr_expect_eq(u.b[0], 42);
    }
}

static void expect_version(struct uuid u, int version)
{
    cr_expect_eq(u.b[6] >> 4, version);
    cr_expect_eq(u.b[8] >> 6, 2);
}

Test(uuid, version_and_variant_are_stamped)
{
    uint8_t digest[32];
    memset(digest, 0xff, sizeof(digest));
    for (int i = 0; i < 100; i++) {
        expect_version(uuid_v4(), 4);
        expect_version(uuid_v7(1767323045123), 7);
    }
    expect_version(uuid_from_digest(digest), 8);
    memset(digest, 0, sizeof(digest));
    expect_version(uuid_from_digest(digest), 8);
}

Test(uuid, v7_begins_with_its_milliseconds_and_sorts_by_them)
{
    char s[UUID_STRLEN + 1];
    struct uuid early = uuid_v7(0x0123456789ab), late = uuid_v7(0x0123456789ac);
    uuid_format(&early, s);
    cr_expect_eq(strncmp(s, "01234567-89ab-7", 15), 0, "%s", s);
    cr_expect_lt(memcmp(early.b, late.b, 16), 0);
}

Test(uuid, the_same_digest_gives_the_same_id)
{
    char s[UUID_STRLEN + 1];
    uint8_t digest[32];
    for (int i = 0; i < 32; i++)
        digest[i] = (uint8_t)i;
    struct uuid a = uuid_from_digest(digest);
    uuid_format(&a, s);
    cr_expect_str_eq(s, "00010203-0405-8607-8809-0a0b0c0d0e0f");
    digest[0] = 1;
    struct uuid b = uuid_from_digest(digest);
    cr_expect_not(uuid_equal(&a, &b));
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct uuid));
}

Test(uuid, random_ids_do_not_repeat)
{
    static struct uuid ids[20000];
    const size_t n = sizeof(ids) / sizeof(ids[0]);
    for (size_t i = 0; i < n; i++)
        ids[i] = uuid_v4();
    qsort(ids, n, sizeof(ids[0]), compare);
    for (size_t i = 1; i < n; i++)
        cr_assert_not(uuid_equal(&ids[i - 1], &ids[i]));
}

Test(uuid, a_forked_child_draws_other_ids_than_its_parent)
{
    int fds[2];
    struct uuid theirs, ours;
    uuid_v4(); /* fills the pool that both would share */
    cr_assert_eq(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        theirs = uuid_v4();
        _exit(write(fds[1], &theirs, sizeof(theirs)) != sizeof(theirs));
    }
    ours = uuid_v4();
    cr_assert_eq(read(fds[0], &theirs, sizeof(theirs)), (ssize_t)sizeof(theirs));
    waitpid(child, NULL, 0);
    cr_expect_not(uuid_equal(&ours, &theirs));
}
