/* Which addresses count as private: each range by its first and last address and its neighbours. */
#include "io/http.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct range {
    const char *before, *first, *last, *after; /* NULL: the neighbour is private too, or none */
};

static bool is_private(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return http_address_is_private((struct sockaddr *)&v4);
    cr_assert_eq(inet_pton(AF_INET6, text, &v6.sin6_addr), 1, "%s", text);
    return http_address_is_private((struct sockaddr *)&v6);
}

static void check(const struct range *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cr_expect(is_private(r[i].first), "%s", r[i].first);
        cr_expect(is_private(r[i].last), "%s", r[i].last);
        cr_expect(!r[i].before || !is_private(r[i].before), "%s", r[i].before);
        cr_expect(!r[i].after || !is_private(r[i].after), "%s", r[i].after);
    }
}

Test(http_address, private_ipv4_ranges_end_where_they_should)
{
    static const struct range ranges[] = {
        {NULL,              "0.0.0.0",      "0.255.255.255",   "1.0.0.0"     },
        {"9.255.255.255",   "10.0.0.0",     "10.255.255.255",  "11.0.0.0"    },
        {"100.63.255.255",  "100.64.0.0",   "100.127.255.255", "100.128.0.0" },
        {"126.255.255.255", "127.0.0.0",    "127.255.255.255", "128.0.0.0"   },
        {"169.253.255.255", "169.254.0.0",  "169.254.255.255", "169.255.0.0" },
        {"172.15.255.255",  "172.16.0.0",   "172.31.255.255",  "172.32.0.0"  },
        {"191.255.255.255", "192.0.0.0",    "192.0.0.255",     "192.0.1.0"   },
        {"192.0.1.255",     "192.0.2.0",    "192.0.2.255",     "192.0.3.0"   },
        {"192.88.98.255",   "192.88.99.0",  "192.88.99.255",   "192.88.100.0"},
        {"192.167.255.255", "192.168.0.0",  "192.168.255.255", "192.169.0.0" },
        {"198.17.255.255",  "198.18.0.0",   "198.19.255.255",  "198.20.0.0"  },
        {"198.51.99.255",   "198.51.100.0", "198.51.100.255",  "198.51.101.0"},
        {"203.0.112.255",   "203.0.113.0",  "203.0.113.255",   "203.0.114.0" },
        {"223.255.255.255", "224.0.0.0",    "255.255.255.255", NULL          },
    };
    check(ranges, sizeof(ranges) / sizeof(ranges[0]));
}

Test(http_address, only_global_unicast_ipv6_is_public)
{
    static const struct range ranges[] = {
        {NULL,               "::",         "1fff:ffff:ffff::1",     NULL         },
        {NULL,               "::1",        "::7f00:1",              NULL         },
        {NULL,               "100::",      "64:ff9b:1::808:808",    NULL         },
        {NULL,               "2001::",     "2001:1ff:ffff::1",      "2001:200::" },
        {"2001:db7:ffff::",  "2001:db8::", "2001:db8:ffff:ffff::1", "2001:db9::" },
        {"3ffe:ffff:ffff::", "3fff::",     "3fff:fff:ffff::",       "3fff:1000::"},
        {"3fff:ffff:ffff::", "4000::",     "fbff:ffff::",           NULL         },
        {NULL,               "fc00::",     "fdff:ffff::1",          NULL         },
        {NULL,               "fe80::",     "febf:ffff::1",          NULL         },
        {NULL,               "fec0::",     "feff:ffff::1",          NULL         },
        {NULL,               "ff00::",     "ff02::1",               NULL         },
        {NULL,               "5f00::",     "5f00:ffff::1",          NULL         },
    };
    check(ranges, sizeof(ranges) / sizeof(ranges[0]));
    cr_expect_not(is_private("2606:4700:4700::1111"));
    cr_expect_not(is_private("2a00:1450:4001:800::200e"));
}

Test(http_address, an_ipv4_address_inside_ipv6_decides)
{
    static const char *const forms[] = {"::ffff:%s", "64:ff9b::%s"};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        char text[80];
        snprintf(text, sizeof(text), forms[i], "192.168.1.1");
        cr_expect(is_private(text), "%s", text);
        snprintf(text, sizeof(text), forms[i], "8.8.8.8");
        cr_expect_not(is_private(text), "%s", text);
    }
    cr_expect(is_private("2002:7f00:1::"), "6to4 of 127.0.0.1");
    cr_expect(is_private("2002:c0a8:101::1"), "6to4 of 192.168.1.1");
    cr_expect_not(is_private("2002:808:808::1"), "6to4 of 8.8.8.8");
    cr_expect(is_private("::ffff:0:7f00:1"), "translated 127.0.0.1");
}

Test(http_address, other_families_are_never_public)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/run/x"};
    cr_expect(http_address_is_private((struct sockaddr *)&un));
}
