WITH rule AS MATERIALIZED (
  SELECT interval '0' AS longest
), candidate AS MATERIALIZED (
  SELECT r.id, r.name, r.capacity, r.timezone,
         EXISTS (SELECT FROM opening_hours h WHERE h.resource_id = r.id) AS has_hours
    FROM resources r WHERE r.is_active
), exception AS MATERIALIZED (
  SELECT x.resource_id, zone.timezone, x.is_open, local.start_time,
         greatest(local.start_time, local.end_time) AS end_time
    FROM rule CROSS JOIN (SELECT DISTINCT c.timezone FROM candidate c) AS zone
    JOIN calendar_exceptions x
      ON tstzrange(x.start_time, x.end_time) && tstzrange(
           :since - interval '26 hours', :until + rule.longest + interval '26 hours', '[]')
   CROSS JOIN LATERAL (
     SELECT coalesce(x.start_time AT TIME ZONE x.timezone AT TIME ZONE zone.timezone, x.start_time) AS start_time,
            coalesce(x.end_time AT TIME ZONE x.timezone AT TIME ZONE zone.timezone, x.end_time) AS end_time
   ) AS local
), exception_times AS MATERIALIZED (
  SELECT x.resource_id, x.timezone,
         range_agg(tstzrange(x.start_time, x.end_time)) FILTER (WHERE x.is_open) AS opened,
         range_agg(tstzrange(x.start_time, x.end_time)) FILTER (WHERE NOT x.is_open) AS closed
    FROM exception x GROUP BY x.resource_id, x.timezone
), weekly_hours AS MATERIALIZED (
  SELECT c.id, c.timezone, coalesce(h.weekday, 0) AS weekday, coalesce(h.opens, '00:00') AS opens,
         coalesce(h.closes, '00:00') AS closes, h.valid_from, h.valid_until
    FROM candidate c LEFT JOIN opening_hours h ON h.resource_id = c.id
), dated_hours AS MATERIALIZED (
  SELECT w.*, day, (day + w.opens) AT TIME ZONE w.timezone AS since,
         (day + w.closes + CASE WHEN w.closes > w.opens THEN interval '0' ELSE interval '1 day' END)
           AT TIME ZONE w.timezone AS until
    FROM rule CROSS JOIN (SELECT DISTINCT timezone, weekday, opens, closes FROM weekly_hours) AS w
   CROSS JOIN LATERAL generate_series(
     CASE WHEN w.weekday = 0 THEN date_trunc('day', (:since AT TIME ZONE w.timezone) - interval '2 days')
          ELSE date_trunc('week', (:since AT TIME ZONE w.timezone) - interval '2 days')
               + make_interval(days => w.weekday - 1) END,
     (:until + rule.longest) AT TIME ZONE w.timezone,
     CASE WHEN w.weekday = 0 THEN interval '1 day' ELSE interval '7 days' END) AS day
   WHERE ((day + interval '12 hours') AT TIME ZONE w.timezone) AT TIME ZONE w.timezone = day + interval '12 hours'
), span AS MATERIALIZED (
  SELECT w.id, d.since, d.until
    FROM weekly_hours w JOIN dated_hours d USING (timezone, weekday, opens, closes)
   WHERE d.since < d.until AND d.until > :since
     AND d.day >= coalesce(w.valid_from, '-infinity') AND d.day <= coalesce(w.valid_until, 'infinity')
  UNION ALL
  SELECT c.id, x.start_time, x.end_time
    FROM candidate c JOIN exception x
      ON x.is_open AND x.timezone = c.timezone AND (x.resource_id = c.id OR x.resource_id IS NULL)
), plan AS MATERIALIZED (
  SELECT c.*, coalesce(spans.hours, '{}') AS hours, coalesce(spans.hours, '{}') - closed.times AS open,
         closed.times AS closed
    FROM candidate c
    LEFT JOIN (
      SELECT s.id, range_agg(tstzrange(s.since, s.until)) AS hours FROM span s GROUP BY s.id
    ) AS spans USING (id)
    LEFT JOIN exception_times AS own ON own.resource_id = c.id AND own.timezone = c.timezone
    LEFT JOIN exception_times AS shared ON shared.resource_id IS NULL AND shared.timezone = c.timezone
   CROSS JOIN LATERAL (
     SELECT coalesce(shared.closed, '{}') - coalesce(own.opened, '{}') + coalesce(own.closed, '{}') AS times
   ) AS closed
), occupied AS MATERIALIZED (
  SELECT c.resource_id AS id, c.seat, range_agg(tstzrange(c.since, c.until)) AS blocks
    FROM bookings_reaching(:since) b JOIN claims c ON c.booking_id = b.id
   WHERE b.start_time < :until + interval '1 day' AND b.status <> 'cancelled' AND NOT is_expired(b.expires_at, :now)
   GROUP BY c.resource_id, c.seat
), free_time AS (
  SELECT p.id, 1 AS seats, p.open - t.blocks AS times
    FROM plan p JOIN occupied t ON t.id = p.id AND t.seat <= p.capacity
  UNION ALL
  SELECT p.id, p.capacity - coalesce(used.seats, 0), p.open
    FROM plan p LEFT JOIN (
      SELECT t.id, count(*) AS seats FROM plan p JOIN occupied t ON t.id = p.id AND t.seat <= p.capacity GROUP BY t.id
    ) AS used USING (id)
   WHERE p.capacity > coalesce(used.seats, 0)
), remaining AS (
  SELECT tstzmultirange(tstzrange(:since, :until)) AS times
)
SELECT p.id, p.name, p.capacity, NOT p.has_hours AS is_always_open,
       coalesce(round(extract(epoch FROM open_length.length * p.capacity) / 60)::bigint, 0) AS open_minutes,
       coalesce(round(extract(epoch FROM free_length.length) / 60)::bigint, 0) AS free_minutes
  FROM plan p CROSS JOIN remaining
 CROSS JOIN LATERAL (
   SELECT sum(upper(o) - lower(o)) AS length FROM unnest(p.open * remaining.times) AS o
 ) AS open_length
  LEFT JOIN (
    SELECT f.id, sum((upper(o) - lower(o)) * f.seats) AS length
      FROM free_time f CROSS JOIN remaining CROSS JOIN LATERAL unnest(f.times * remaining.times) AS o GROUP BY f.id
  ) AS free_length USING (id)
 ORDER BY free_minutes DESC, sort_key(p.name), p.id
