/* timestamp: see timestamp.h. It owns the calendar arithmetic (proleptic Gregorian, no tables of
 * the system are read) and the two parsers. */
#include "base/timestamp.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define SECOND INT64_C(1000000)
#define DAY    (86400 * SECOND)

#define ISO_MAX 127 /* bytes of an ISO time that are looked at */

struct date {
    int year, month, day;
};

struct clock_time {
    int hour, minute, second, micro;
};

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int month_days(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Quotient towards minus infinity, for instants before the epoch. */
static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days since 1970-01-01. A year counts from March, so that the leap day is its last one. */
static int64_t days_of(struct date d)
{
    int64_t year = d.month > 2 ? d.year : d.year - 1;
    int64_t month = (d.month + 9) % 12; /* March is 0 */
    int64_t leap_days = floor_div(year, 4) - floor_div(year, 100) + floor_div(year, 400);
    return year * 365 + leap_days + (month * 153 + 2) / 5 + d.day - 1 - 719468;
}

static struct date date_of(int64_t days)
{
    int64_t shifted = days + 719468; /* since 0000-03-01 */
    int64_t era = floor_div(shifted, 146097);
    int64_t of_era = shifted - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153; /* March is 0 */
    struct date d = {.day = (int)(of_year - (153 * month + 2) / 5 + 1)};
    d.month = (int)(month < 10 ? month + 3 : month - 9);
    d.year = (int)(year + era * 400 + (month >= 10));
    return d;
}

/* 0 = Monday. */
static int weekday_of(int64_t days)
{
    return (int)(((days + 3) % 7 + 7) % 7);
}

static bool date_valid(struct date d)
{
    return d.year >= 1 && d.year <= 9999 && d.month >= 1 && d.month <= 12 && d.day >= 1 &&
           d.day <= month_days(d.year, d.month);
}

static bool time_valid(struct clock_time t)
{
    return t.hour <= 23 && t.minute <= 59 && t.second <= 59;
}

static int64_t join(struct date d, struct clock_time t)
{
    return days_of(d) * DAY + (t.hour * 3600 + t.minute * 60 + t.second) * SECOND + t.micro;
}

static void split(int64_t us, struct date *d, struct clock_time *t)
{
    int64_t days = floor_div(us, DAY);
    int64_t rest = us - days * DAY;
    int secs = (int)(rest / SECOND);
    *d = date_of(days);
    *t = (struct clock_time){secs / 3600, secs / 60 % 60, secs % 60, (int)(rest % SECOND)};
}

/* --- reading ----------------------------------------------------------------------------- */

struct cursor {
    const char *p, *end;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Exactly n digits. */
static bool take_number(struct cursor *c, int n, int *out)
{
    int value = 0;
    if (c->end - c->p < n)
        return false;
    for (int i = 0; i < n; i++) {
        if (!is_digit(c->p[i]))
            return false;
        value = value * 10 + (c->p[i] - '0');
    }
    c->p += n;
    *out = value;
    return true;
}

static bool take_char(struct cursor *c, char want)
{
    if (c->p == c->end || *c->p != want)
        return false;
    c->p++;
    return true;
}

/* Monday of ISO week 1 is the Monday of the week with 4 January (ISO 8601). */
static bool date_of_week(int year, int week, int day, struct date *out)
{
    int64_t fourth = days_of((struct date){year, 1, 4});
    int64_t next_fourth = days_of((struct date){year + 1, 1, 4});
    int64_t monday = fourth - weekday_of(fourth);
    int64_t next_monday = next_fourth - weekday_of(next_fourth);
    int64_t days = monday + (week - 1) * 7 + day - 1;
    if (year < 1 || week < 1 || day < 1 || day > 7 || monday + (week - 1) * 7 >= next_monday)
        return false;
    *out = date_of(days);
    return true;
}

/* YYYY-MM-DD, YYYYMMDD, YYYY-Www[-D], YYYYWww[D]; all of the cursor. */
static bool read_date(struct cursor c, struct date *out)
{
    int year, week, day = 1;
    if (!take_number(&c, 4, &year))
        return false;
    bool extended = take_char(&c, '-');
    if (take_char(&c, 'W')) {
        if (!take_number(&c, 2, &week))
            return false;
        if (c.p < c.end && ((extended && !take_char(&c, '-')) || !take_number(&c, 1, &day)))
            return false;
        return c.p == c.end && date_of_week(year, week, day, out) && date_valid(*out);
    }
    struct date d = {.year = year};
    if (!take_number(&c, 2, &d.month) || (extended && !take_char(&c, '-')) ||
        !take_number(&c, 2, &d.day))
        return false;
    *out = d;
    return c.p == c.end && date_valid(d);
}

/* Where the date ends. Only week dates leave a choice: their day may be missing, and any character
 * may separate date and time; Python's parser decides by what follows. len >= 7. */
static size_t date_length(const char *s, size_t len)
{
    if (len == 7)
        return 7;
    if (s[4] == '-') {
        if (s[5] != 'W')
            return 10;
        if (len <= 9 || s[8] != '-')
            return 8;
        return len > 10 && is_digit(s[10]) ? 8
                                           : 10; /* YYYY-Www-hh rather than a digit as separator */
    }
    if (s[4] != 'W')
        return 8;
    size_t digits_end = 7;
    while (digits_end < len && is_digit(s[digits_end]))
        digits_end++;
    if (digits_end < 9)
        return digits_end;
    return digits_end % 2 == 0 ? 7 : 8; /* hours, minutes, seconds come in pairs */
}

/* 1 to 6 digits up to the end; behind six more digits are skipped. */
static bool read_fraction(struct cursor *c, int *micro)
{
    int n = c->end - c->p < 6 ? (int)(c->end - c->p) : 6;
    if (n == 0 || !take_number(c, n, micro))
        return false;
    for (int i = n; i < 6; i++)
        *micro *= 10;
    while (c->p < c->end && is_digit(*c->p))
        c->p++;
    return true;
}

/* hh[[:]mm[[:]ss[(.|,)ffffff]]], all of the cursor. As in Python the fraction may follow any of
 * the three (it counts as parts of a second), and may be set off by ':' or, in the basic form, by
 * nothing. With `slack` one character may stand where a separator could, and anything behind six
 * digits of the fraction: Python's parser looks no closer when an offset follows, which is what
 * lets the common "12:30:00 +02:00" through. */
static bool read_time(struct cursor c, bool slack, struct clock_time *out)
{
    struct clock_time t = {0};
    int *parts[] = {&t.hour, &t.minute, &t.second};
    bool extended = true;

    for (int i = 0; i < 3; i++) {
        if (!take_number(&c, 2, parts[i]))
            return false;
        *out = t;
        if (c.p == c.end)
            return true;
        char next = *c.p;
        if (i == 0)
            extended = next == ':';
        if (c.p + 1 == c.end)
            return slack;
        if (next == '.' || next == ',') {
            c.p++;
            break;
        }
        if (extended && next != ':')
            return false;
        if (extended)
            c.p++;
    }
    if (!read_fraction(&c, &t.micro))
        return false;
    *out = t;
    return c.p == c.end || slack;
}

/* Microseconds to subtract for UTC; a whole offset of zero seconds is UTC whatever its fraction. */
static bool read_offset(struct cursor c, int64_t *us)
{
    int sign = *c.p++ == '-' ? -1 : 1;
    struct clock_time t;
    if (!read_time(c, false, &t))
        return false;
    int secs = t.hour * 3600 + t.minute * 60 + t.second;
    *us = sign * (secs * SECOND + (secs ? t.micro : 0));
    return secs < 86400;
}

static bool read_time_and_offset(struct cursor c, struct clock_time *t, int64_t *offset)
{
    const char *zone = c.p;
    while (zone < c.end && *zone != '+' && *zone != '-' && *zone != 'Z')
        zone++;
    *offset = 0;
    if (!read_time((struct cursor){c.p, zone}, zone < c.end, t) || !time_valid(*t))
        return false;
    if (zone == c.end)
        return true;
    if (*zone == 'Z')
        return zone + 1 == c.end;
    return read_offset((struct cursor){zone, c.end}, offset);
}

/* Bytes of the character at s, which separates date and time. */
static size_t char_length(const char *s, size_t len)
{
    size_t n = 1;
    while (n < len && ((uint8_t)s[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static bool instant_valid(int64_t us)
{
    return us >= days_of((struct date){1, 1, 1}) * DAY &&
           us < days_of((struct date){10000, 1, 1}) * DAY;
}

/* Trims, and puts +00:00 in the place of a final Z. Returns the length, 0 when out is too small. */
static size_t normalise(const char *s, char out[ISO_MAX + 1])
{
    size_t len = strlen(s);
    text_trim(&s, &len);
    const char *zone = len > 0 && s[len - 1] == 'Z' ? "+00:00" : "";
    len -= *zone != '\0';
    if (len + strlen(zone) > ISO_MAX)
        return 0;
    return (size_t)snprintf(out, ISO_MAX + 1, "%.*s%s", (int)len, s, zone);
}

bool timestamp_parse_iso(const char *s, int64_t *out)
{
    char text[ISO_MAX + 1];
    size_t len = normalise(s, text);
    if (len < 7)
        return false;
    size_t date_len = date_length(text, len);
    const char *end = text + len;
    if (date_len > len)
        return false;

    struct date date;
    struct clock_time time = {0};
    int64_t offset = 0;
    if (!read_date((struct cursor){text, text + date_len}, &date))
        return false;
    if (date_len < len) {
        const char *rest = text + date_len + char_length(text + date_len, len - date_len);
        if (!read_time_and_offset((struct cursor){rest, end}, &time, &offset))
            return false;
    }
    int64_t us = join(date, time) - offset;
    if (!instant_valid(us))
        return false;
    *out = us;
    return true;
}

bool timestamp_parse_cdio(const char *s, int64_t *out)
{
    size_t len = strlen(s);
    text_trim(&s, &len);
    struct cursor c = {s, s + len};
    struct date d;
    struct clock_time t = {0};

    if (!take_number(&c, 4, &d.year) || !take_char(&c, '-') || !take_number(&c, 2, &d.month) ||
        !take_char(&c, '-') || !take_number(&c, 2, &d.day) || !take_char(&c, ' ') ||
        !take_number(&c, 2, &t.hour) || !take_char(&c, ':') || !take_number(&c, 2, &t.minute) ||
        !take_char(&c, ':') || !take_number(&c, 2, &t.second))
        return false;
    if (c.end - c.p != 4 || memcmp(c.p, " UTC", 4) != 0 || !date_valid(d) || !time_valid(t))
        return false;
    *out = join(d, t);
    return true;
}

/* --- writing ----------------------------------------------------------------------------- */

/* Instant at which the nth Sunday of a month reads `hour` o'clock in a zone `west` hours behind. */
static int64_t nth_sunday(int year, int month, int nth, int hour, int west)
{
    int64_t first = days_of((struct date){year, month, 1});
    int64_t sunday = first + 6 - weekday_of(first) + (nth - 1) * 7;
    return sunday * DAY + (hour + west) * 3600 * SECOND;
}

/* POSIX rule EST5EDT,M3.2.0,M11.1.0: both changes happen at 2 o'clock local time. The offset of the
 * year's ends is standard, so the year of standard time decides. */
static int eastern_hours_west(int64_t us)
{
    int year = date_of(floor_div(us - 5 * 3600 * SECOND, DAY)).year;
    bool summer = us >= nth_sunday(year, 3, 2, 2, 5) && us < nth_sunday(year, 11, 1, 2, 4);
    return summer ? 4 : 5;
}

/* What cannot be a date (far outside years 1 to 9999) is shown as the nearest that can. */
static int64_t clamp(int64_t us)
{
    int64_t low = days_of((struct date){1, 1, 1}) * DAY;
    int64_t high = days_of((struct date){10000, 1, 1}) * DAY - 1;
    return us < low ? low : us > high ? high : us;
}

void timestamp_eastern(int64_t us, char out[TIMESTAMP_EASTERN_LEN + 1])
{
    struct date d;
    struct clock_time t;
    us = clamp(us);
    split(us - eastern_hours_west(us) * 3600 * SECOND, &d, &t);
    /* the remainders change nothing; they show the compiler that all fits */
    snprintf(out, TIMESTAMP_EASTERN_LEN + 1, "%02u:%02u:%02u %s | %02u/%02u/%04u",
        (unsigned)(t.hour + 11) % 12 + 1, (unsigned)t.minute % 60, (unsigned)t.second % 60,
        t.hour < 12 ? "AM" : "PM", (unsigned)d.month % 13, (unsigned)d.day % 32,
        (unsigned)d.year % 10000);
}

void timestamp_iso(int64_t us, char out[TIMESTAMP_ISO_LEN + 1])
{
    struct date d;
    struct clock_time t;
    char fraction[] = ".000000";
    split(clamp(us), &d, &t);
    snprintf(fraction, sizeof(fraction), ".%06u", (unsigned)t.micro % 1000000);
    snprintf(out, TIMESTAMP_ISO_LEN + 1, "%04u-%02u-%02uT%02u:%02u:%02u%sZ",
        (unsigned)d.year % 10000, (unsigned)d.month % 13, (unsigned)d.day % 32,
        (unsigned)t.hour % 24, (unsigned)t.minute % 60, (unsigned)t.second % 60,
        t.micro ? fraction : "");
}
