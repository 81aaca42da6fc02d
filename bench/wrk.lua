-- wrk -s bench/wrk.lua URL -- PATH FILE: POST each line of FILE in turn, and print what was seen as one line of JSON.
local requests, at = {}, 0

function init(args)
  local headers = { ["content-type"] = "application/json" }
  for body in io.lines(args[2]) do
    requests[#requests + 1] = wrk.format("POST", args[1], headers, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"count": %d, "seconds": %.6f, "p50_ms": %.6f, "p90_ms": %.6f, "p99_ms": %.6f, "bad": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
