-- dead_revive: a dead letter of a change event becomes a job again, in one step.
-- KEYS[1] stream, KEYS[2] later (zset), KEYS[3] dead, KEYS[4] marker of the job
-- ARGV[1] the letter, ARGV[2] event id that it must have
-- A job that is in the queue already is not put there again. Returns 0: there is no such letter, 1: it is a job
-- again, 2: it was one already; the letter is gone, 3: it is no such job; nothing was done.
local found = redis.call('XRANGE', KEYS[3], ARGV[1], ARGV[1])
if #found == 0 then
    return 0
end
local fields = {}
for k = 1, #found[1][2], 2 do
    fields[found[1][2][k]] = found[1][2][k + 1]
end
if fields['id'] ~= ARGV[2] or fields['queue'] or not fields['job'] then
    return 3
end

local function holds(marker)
    if marker == 'later' then
        return redis.call('ZSCORE', KEYS[2], ARGV[2]) ~= false
    end
    local stream, entry = string.match(marker, '^(%S+) (%S+)$')
    return stream == KEYS[1] and #redis.call('XRANGE', stream, entry, entry) == 1
end

local marker = redis.call('GET', KEYS[4])
local was = marker and holds(marker)
if not was then
    local entry = redis.call('XADD', KEYS[1], '*', 'id', ARGV[2], 'job', fields['job'])
    redis.call('SET', KEYS[4], KEYS[1] .. ' ' .. entry)
end
redis.call('XDEL', KEYS[3], ARGV[1])
return was and 2 or 1
