WITH period AS MATERIALIZED (
  SELECT n, since, until
    FROM unnest(CAST(:edges AS timestamptz[]), CAST(:ends AS timestamptz[])) WITH ORDINALITY AS edge (since, until, n)
), booking_totals AS (
  SELECT period.n AS period, b.*, is_counted AND is_future AND is_live(status) AS is_upcoming
    FROM period CROSS JOIN LATERAL (
      SELECT b.service_id, b.status, b.status <> 'cancelled' AND NOT is_expired(b.expires_at, :now) AS is_counted, b.start_time > :now AS is_future,
             count(*) AS visits, sum(b.price) AS price
        FROM bookings b WHERE b.start_time >= period.since AND b.start_time < period.until
       GROUP BY 1, 2, 3, 4
    ) AS b
)
SELECT period, service_id, s.title, bool_and(s.is_active) AS is_active, GROUPING(period, service_id) AS level,
       coalesce(sum(visits) FILTER (WHERE is_counted), 0)::bigint AS visits,
       coalesce(sum(visits) FILTER (WHERE status = 'completed'), 0)::bigint AS completed,
       coalesce(sum(visits) FILTER (WHERE status = 'no_show'), 0)::bigint AS no_shows,
       coalesce(sum(visits) FILTER (WHERE is_upcoming), 0)::bigint AS coming,
       coalesce(sum(t.price) FILTER (WHERE status = 'completed'), 0) AS revenue,
       coalesce(sum(t.price) FILTER (WHERE is_upcoming), 0) AS to_come
  FROM booking_totals t LEFT JOIN services s ON s.id = t.service_id
 GROUP BY GROUPING SETS ((period), (service_id, s.title), ())
 ORDER BY level, period, revenue DESC, to_come DESC, service_id
