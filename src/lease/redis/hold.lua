-- Renews a lease, or grants it: 1 renewed, 3 granted; 0 another has it (who, for how long), 2 quarantine (nobody, for how long).
-- KEYS: lease, server, quarantine.
-- ARGV: value, milliseconds, this server, '1' where the lease is trusted still, beginning of all values of this runner
local held = redis.call('GET', KEYS[1])
if held == ARGV[1] then
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
	return { 1, '', 0 }
end
-- Another server than the runners know: leases that were granted may be gone from it, and their holders trust them still.
if redis.call('GET', KEYS[2]) ~= ARGV[3] then
	redis.call('SET', KEYS[2], ARGV[3])
	redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
end
-- One of this runner's own is an earlier process's, and that one is dead. But whose lease is trusted has no past: then it is
-- somebody's with the same id.
local is_own = held and string.sub(held, 1, #ARGV[5]) == ARGV[5] and ARGV[4] ~= '1'
if held and not is_own then
	local left = redis.call('PTTL', KEYS[1])
	if left < 0 then
		-- Somebody took its end away (PERSIST), and it would be there for ever.
		redis.call('PEXPIRE', KEYS[1], ARGV[2])
		left = tonumber(ARGV[2])
	end
	return { 0, held, left }
end
local quarantine = redis.call('PTTL', KEYS[3])
if quarantine > 0 and ARGV[4] ~= '1' then
	return { 2, '', quarantine }
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return { 3, '', 0 }
