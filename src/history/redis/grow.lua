-- KEYS[1]: the hash of a site; ARGV: the end of a run, how long the hash lives. A late word of an earlier end changes nothing.
local known = tonumber(redis.call('HGET', KEYS[1], 'ended_ms') or '')
if not known or known < tonumber(ARGV[1]) then
	redis.call('HSET', KEYS[1], 'ended_ms', ARGV[1])
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
