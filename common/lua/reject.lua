-- reject: one more refused webhook, for people to see. Those that nobody had signed have a share of
-- the stream that they cannot exceed, so that a flood of them pushes out none of the others.
-- KEYS[1] stream, KEYS[2] list of its entries that are of unauthenticated requests, oldest first
-- ARGV[1] entries kept, ARGV[2] of them unauthenticated, ARGV[3] '1' = authenticated, then the
-- fields: name, value, ...
local fields = {}
for i = 4, #ARGV do
    fields[#fields + 1] = ARGV[i]
end
local open = ARGV[3] ~= '1'
while open and redis.call('LLEN', KEYS[2]) >= tonumber(ARGV[2]) do
    redis.call('XDEL', KEYS[1], redis.call('LPOP', KEYS[2]))
end
local entry = redis.call('XADD', KEYS[1], 'MAXLEN', '=', ARGV[1], '*', unpack(fields))
if open then
    redis.call('RPUSH', KEYS[2], entry)
end
return entry
