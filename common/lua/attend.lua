-- attend: which generation Redis holds, and who rebuilds it from the rows: one of many at a time.
-- KEYS[1] stream, KEYS[2] generation, KEYS[3] reconciler
-- ARGV[1] group, ARGV[2] who asks, ARGV[3] for how long it has the office, in ms
-- Creates the group where it is gone. The office is kept by asking again in time. Returns {generation
-- ('' = none), 1 when the office is ours, 1 when the group had to be created}.
local created = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
local holder = redis.call('GET', KEYS[3])
if not holder or holder == ARGV[2] then
    redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3])
    holder = ARGV[2]
end
return {redis.call('GET', KEYS[2]) or '', holder == ARGV[2] and 1 or 0, created['ok'] and 1 or 0}
