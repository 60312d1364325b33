-- trace: where one job is. Only reads.
-- KEYS[1] stream, KEYS[2] later (zset), KEYS[3] later:jobs (hash), KEYS[4] marker of the job
-- ARGV[1] group, ARGV[2] event id
-- Returns {now (ms), marker or '', its TTL (ms), entry that it names if that is there or '', consumer that has
-- it or '', since when that has it (ms idle), how often it was delivered, due time in later or '', 1 when its
-- job is there}.
local time = redis.call('TIME')
local marker = redis.call('GET', KEYS[4]) or ''
local found = {
    time[1] * 1000 + math.floor(time[2] / 1000),
    marker,
    redis.call('PTTL', KEYS[4]),
    '', '', 0, 0,
    redis.call('ZSCORE', KEYS[2], ARGV[2]) or '',
    redis.call('HEXISTS', KEYS[3], ARGV[2]),
}
local stream, entry = string.match(marker, '^(%S+) (%d+%-%d+)')
if stream == KEYS[1] and #redis.call('XRANGE', stream, entry, entry) == 1 then
    found[4] = entry
    local pending = redis.pcall('XPENDING', stream, ARGV[1], entry, entry, 1)
    if not pending.err and #pending == 1 then
        found[5], found[6], found[7] = pending[1][2], pending[1][3], pending[1][4]
    end
end
return found
