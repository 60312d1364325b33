-- crawl_takeover: takeover.lua for crawl jobs: what was delivered to a consumer that is gone goes back to the
-- stream and remembers, in `starts`, that its reader died; then the consumer is deleted.
-- KEYS[1] stream; ARGV[1] group, ARGV[2] consumer, ARGV[3] at most so many, ARGV[4] prefix of the markers,
-- ARGV[5] 1 = it died, 0 = it left by itself
-- A job that is elsewhere by now only loses its old entry. Returns {moved, still pending}.
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local moved = 0

local function place_of(fields, name)
    for k = 1, #fields, 2 do
        if fields[k] == name then
            return k + 1
        end
    end
end

local function count_start(fields)
    local at = place_of(fields, 'starts')
    if not at then
        fields[#fields + 1] = 'starts'
        fields[#fields + 1] = '0'
        at = #fields
    end
    fields[at] = tostring((tonumber(fields[at]) or 0) + 1)
end

local function put_back(entry, fields)
    local at = place_of(fields, 'id')
    local id = at and fields[at]
    local marker = id and redis.call('GET', ARGV[4] .. id)
    local place, digest = string.match(marker or '', '^(.*) (%S+)$')
    if place and place ~= stream .. ' ' .. entry then
        return
    end
    if ARGV[5] == '1' then
        count_start(fields)
    end
    local again = redis.call('XADD', stream, '*', unpack(fields))
    if place then
        redis.call('SET', ARGV[4] .. id, stream .. ' ' .. again .. ' ' .. digest)
    end
    moved = moved + 1
end

if redis.call('EXISTS', stream) == 0 then
    return {0, 0}
end
local pending = redis.call('XPENDING', stream, group, '-', '+', ARGV[3], consumer)
for _, p in ipairs(pending) do
    local entry = p[1]
    local found = redis.call('XRANGE', stream, entry, entry)
    if #found == 1 then
        put_back(entry, found[1][2])
    end
    redis.call('XACK', stream, group, entry)
    redis.call('XDEL', stream, entry)
end
local left = #redis.call('XPENDING', stream, group, '-', '+', 1, consumer)
if left == 0 then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
end
return {moved, left}
