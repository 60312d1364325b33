-- transfer_keys: a page of the keys that are remembered for a while: what was seen, or crawl jobs that are done.
-- KEYS[1] what all names begin with (no key)
-- ARGV[1] cursor, ARGV[2] how many keys to pass, ARGV[3] what a value begins with ('' = anything)
-- Returns {next cursor, then name behind KEYS[1], value, when it is forgotten (ms, 0 = never), ...}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local page = redis.call('SCAN', ARGV[1], 'MATCH', KEYS[1] .. '*', 'COUNT', ARGV[2], 'TYPE', 'string')
local out = {page[1]}
for _, key in ipairs(page[2]) do
    local value, left = redis.call('GET', key), redis.call('PTTL', key)
    if value and string.sub(value, 1, #ARGV[3]) == ARGV[3] then
        out[#out + 1] = string.sub(key, #KEYS[1] + 1)
        out[#out + 1] = value
        out[#out + 1] = left < 0 and '0' or string.format('%.0f', now + left)
    end
end
return out
