-- One line of JSON of what came back, for load.py to read. Times are in microseconds.
function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'measured {"requests":%d,"duration":%d,"refused":%d,"lost":%d,"p50":%d,"p99":%d,"worst":%d}',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
