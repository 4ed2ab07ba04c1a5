-- Says that a runner lives, and gives those who do, and when the first of them is not heard of any more unless it says so again.
-- An empty id only asks.
-- KEYS: runners, realm, paused, server, quarantine.  ARGV: id, JSON, milliseconds, realm where there is none yet, this server
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local before = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[1] ~= '' then
	redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s', now + ARGV[3], ARGV[2]))
	redis.call('SET', KEYS[2], ARGV[4], 'NX')
	-- As in hold.lua, and here for the time to begin at once, also where nobody wants a lease at the moment.
	if redis.call('GET', KEYS[4]) ~= ARGV[5] then
		redis.call('SET', KEYS[4], ARGV[5])
		redis.call('SET', KEYS[5], '1', 'PX', ARGV[3])
	end
end
local all, alive, first = redis.call('HGETALL', KEYS[1]), {}, -1
for i = 1, #all, 2 do
	local till, json = string.match(all[i + 1], '^(%d+) (.*)$')
	if not till then
		-- Another version's: it knows what it means.
	elseif tonumber(till) > now then
		alive[#alive + 1] = json
		if first < 0 or till - now < first then
			first = till - now
		end
	else
		redis.call('HDEL', KEYS[1], all[i])
	end
end
return {
	before or '', redis.call('GET', KEYS[2]) or '', alive, redis.call('HGETALL', KEYS[3]),
	redis.call('GET', KEYS[4]) or '', redis.call('PTTL', KEYS[5]), first,
}
