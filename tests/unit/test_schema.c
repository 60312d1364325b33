/* The validator that keeps /openapi.json true must itself see what is wrong. */
#include "tests/support/schema.h"

#include <criterion/criterion.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *fault(const char *schema, const char *value)
{
    static const char doc[] = "{\"a\":{\"Word\":{\"enum\":[\"x\",\"y\"]}}}";
    json_t *d = json_loads(doc, 0, NULL);
    json_t *s = json_loads(schema, 0, NULL), *v = json_loads(value, JSON_DECODE_ANY, NULL);
    cr_assert(d && s && v, "%s %s", schema, value);
    const char *said = schema_fault(d, s, v);
    json_decref(d);
    json_decref(s);
    json_decref(v);
    return said;
}

/* clang-format off */
#define OBJECT "{\"type\":\"object\",\"required\":[\"n\"],\"properties\":{\"n\":{\"type\":\"integer\"}}," \
               "\"additionalProperties\":false}"
static const struct {
    const char *schema, *fits, *does_not, *why; /* why: a part of what is said */
} cases[] = {
    {"{\"type\":\"integer\"}", "3", "3.0", "not of type"},
    {"{\"type\":\"number\"}", "3", "\"3\"", "not of type"},
    {"{\"type\":[\"string\",\"null\"]}", "null", "true", "not of type"},
    {"{\"const\":\"queued\"}", "\"queued\"", "\"failed\"", "it is not"},
    {"{\"enum\":[1,2]}", "2", "3", "none of"},
    {"{\"$ref\":\"#/a/Word\"}", "\"y\"", "\"z\"", "none of"},
    {"{\"type\":\"integer\",\"minimum\":1,\"maximum\":3}", "3", "4", "above"},
    {"{\"type\":\"integer\",\"minimum\":1,\"maximum\":3}", "1", "0", "below"},
    {"{\"type\":\"string\",\"minLength\":1,\"maxLength\":2}", "\"\xc3\xa4\xc3\xa4\"", "\"abc\"", "longer"},
    {"{\"type\":\"string\",\"minLength\":1}", "\"a\"", "\"\"", "shorter"},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"maxItems\":2}", "[1,2]", "[1,2,3]", "more"},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1}", "[1]", "[]", "fewer"},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}", "[1,2]", "[1,\"a\"]", "at /1: it is not of type"},
    {OBJECT, "{\"n\":1}", "{}", "lacks \"n\""},
    {OBJECT, "{\"n\":1}", "{\"n\":null}", "at /n: it is not of type"},
    {OBJECT, "{\"n\":1}", "{\"n\":1,\"m\":1}", "at /m: not in the document"},
    {"{\"type\":\"object\",\"additionalProperties\":" OBJECT "}", "{\"a\":{\"n\":1}}", "{\"a\":{\"n\":\"\"}}",
     "at /a/n"},
    {"{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"string\"}]}", "null", "1", "none of the others"},
    {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", "1.5", "1", "fits 2 of oneOf"},
};
/* clang-format on */

Test(schema, what_fits_is_told_from_what_does_not)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *good = fault(cases[i].schema, cases[i].fits);
        const char *bad = fault(cases[i].schema, cases[i].does_not);
        cr_expect_null(good, "%s: %s", cases[i].schema, good ? good : "");
        cr_expect(bad && strstr(bad, cases[i].why), "%s: %s: %s", cases[i].schema,
            cases[i].does_not, bad ? bad : "fits");
    }
}

Test(schema, a_schema_it_does_not_understand_fits_nothing)
{
    cr_expect_not_null(fault("{\"pattern\":\"^a$\"}", "\"a\""));
    cr_expect_not_null(fault("{\"$ref\":\"#/a/Nothing\"}", "\"a\""));
    cr_expect_not_null(fault("{\"$ref\":\"elsewhere.json\"}", "\"a\""));
}
