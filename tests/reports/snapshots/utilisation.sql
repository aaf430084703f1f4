WITH rule AS MATERIALIZED (
  SELECT interval '0' AS longest
), candidate AS MATERIALIZED (
  SELECT r.id, r.name, r.capacity, r.timezone, r.is_active,
         EXISTS (SELECT FROM opening_hours h WHERE h.resource_id = r.id) AS has_hours
    FROM resources r WHERE r.is_active OR EXISTS (
      SELECT FROM claims c JOIN bookings b ON b.id = c.booking_id
       WHERE c.resource_id = r.id AND c.start_time >= earliest_start(:since)
         AND c.start_time < :until - interval '1 day' AND b.status <> 'cancelled' AND NOT is_expired(b.expires_at, :now)
         AND b.end_time > :since + interval '1 day')
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
  SELECT c.resource_id AS id, c.seat, range_agg(tstzrange(c.since, c.until) * tstzrange(b.start_time, b.end_time)) AS visits
    FROM bookings_reaching(:since) b JOIN claims c ON c.booking_id = b.id
   WHERE b.start_time < :until + interval '1 day' AND b.status <> 'cancelled' AND NOT is_expired(b.expires_at, :now)
   GROUP BY c.resource_id, c.seat
), period AS MATERIALIZED (
  SELECT n, since, until
    FROM unnest(CAST(:edges AS timestamptz[]), CAST(:ends AS timestamptz[])) WITH ORDINALITY AS edge (since, until, n)
), open_in_range AS MATERIALIZED (
  SELECT p.id, p.capacity, p.open * whole.times AS open
    FROM plan p CROSS JOIN (SELECT tstzmultirange(tstzrange(min(since), max(until))) AS times FROM period) AS whole
), open_length AS (
  SELECT r.id, n, length * r.capacity AS length FROM open_in_range r CROSS JOIN LATERAL (
  SELECT n, sum(least(upper, until) - greatest(lower, since)) AS length
    FROM (SELECT lower(o), upper(o), generate_series(width_bucket(lower(o), CAST(:edges AS timestamptz[])),
                                                     width_bucket(upper(o), CAST(:edges AS timestamptz[]))) AS n
            FROM unnest(r.open) AS o) AS piece
    JOIN period USING (n) GROUP BY n
) AS piece
), booked_length AS (
  SELECT r.id, n, sum(length) AS length
    FROM open_in_range r JOIN occupied t USING (id) CROSS JOIN LATERAL (
  SELECT n, sum(least(upper, until) - greatest(lower, since)) AS length
    FROM (SELECT lower(o), upper(o), generate_series(width_bucket(lower(o), CAST(:edges AS timestamptz[])),
                                                     width_bucket(upper(o), CAST(:edges AS timestamptz[]))) AS n
            FROM unnest(r.open * t.visits) AS o) AS piece
    JOIN period USING (n) GROUP BY n
) AS piece GROUP BY r.id, n
), gap (id, n, length) AS (VALUES (CAST(NULL AS bigint), CAST(NULL AS bigint), CAST(NULL AS interval)))
SELECT n AS period, p.id, p.name, bool_or(NOT p.has_hours) AS is_always_open, bool_and(p.is_active) AS is_active,
       GROUPING(n, p.id) AS level,
       coalesce(round(extract(epoch FROM sum(open_length.length)) / 60)::bigint, 0) AS open_minutes,
       coalesce(round(extract(epoch FROM sum(booked_length.length)) / 60)::bigint, 0) AS booked_minutes,
       coalesce(round(extract(epoch FROM sum(gap.length)) / 60)::bigint, 0) AS unsellable_minutes
  FROM plan p CROSS JOIN period
  LEFT JOIN open_length USING (id, n) LEFT JOIN booked_length USING (id, n) LEFT JOIN gap USING (id, n)
 GROUP BY GROUPING SETS ((n), (p.id, p.name), ())
 ORDER BY level, period, sort_key(p.name), p.id
