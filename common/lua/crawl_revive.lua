-- crawl_revive: a dead letter of a crawl job becomes a job again, with what was kept beside it, in one step.
-- KEYS[1] stream, KEYS[2] later (zset), KEYS[3] dead, KEYS[4] marker of the job, KEYS[5] key of the large job
-- ARGV[1] the letter, ARGV[2] event id that it must have, ARGV[3] digest of the body
-- A job that is there already, or done, is not put there again; what the letter kept beside it then goes with the
-- letter. Returns 0: there is no such letter, 1: it is a job again, 2: it was one already, or is done; the letter
-- is gone, 3: it is no such job, or its bytes are lost, 4: so is another body under this id; nothing was done.
local found = redis.call('XRANGE', KEYS[3], ARGV[1], ARGV[1])
if #found == 0 then
    return 0
end
local fields = {}
for k = 1, #found[1][2], 2 do
    fields[found[1][2][k]] = found[1][2][k + 1]
end
local blob = fields['blob']
if fields['id'] ~= ARGV[2] or fields['queue'] ~= 'crawl' then
    return 3
end
-- A blob of a letter has a name of its own, which begins as that of the job does.
if blob and (string.sub(blob, 1, #KEYS[5] + 5) ~= KEYS[5] .. ':dead' or redis.call('EXISTS', blob) == 0) then
    return 3
end
if not blob and (fields['job'] or '') == '' then
    return 3
end

local function holds(place)
    if place == 'done' then
        return true
    end
    if place == 'later' then
        return redis.call('ZSCORE', KEYS[2], ARGV[2]) ~= false
    end
    local stream, entry = string.match(place, '^(%S+) (%S+)$')
    return stream == KEYS[1] and #redis.call('XRANGE', stream, entry, entry) == 1
end

local function add()
    if not blob then
        return redis.call('XADD', KEYS[1], '*', 'id', ARGV[2], 'job', fields['job'])
    end
    redis.call('RENAME', blob, KEYS[5])
    return redis.call('XADD', KEYS[1], '*', 'id', ARGV[2], 'len', fields['len'])
end

local asked = string.rep('0', 64)
local place, before = string.match(redis.call('GET', KEYS[4]) or '', '^(.*) (%S+)$')
local was = place and holds(place)
if was and before ~= ARGV[3] and before ~= asked and ARGV[3] ~= asked then
    return 4
end
if was and blob then
    redis.call('UNLINK', blob)
elseif not was then
    redis.call('SET', KEYS[4], KEYS[1] .. ' ' .. add() .. ' ' .. ARGV[3])
end
redis.call('XDEL', KEYS[3], ARGV[1])
return was and 2 or 1
