WITH period AS MATERIALIZED (
  SELECT n, since, until
    FROM unnest(CAST(:edges AS timestamptz[]), CAST(:ends AS timestamptz[])) WITH ORDINALITY AS edge (since, until, n)
), customer_period AS MATERIALIZED (
  SELECT period.n, b.user_id
    FROM period CROSS JOIN LATERAL (
      SELECT b.user_id FROM bookings b
       WHERE b.status = 'completed' AND b.start_time >= period.since AND b.start_time < period.until
       GROUP BY b.user_id
    ) AS b
), first_period AS MATERIALIZED (
  SELECT user_id, min(n) AS n FROM customer_period GROUP BY user_id
), new_customers AS MATERIALIZED (
  SELECT n, count(*) AS many FROM first_period c
   WHERE NOT EXISTS (
     SELECT FROM bookings b WHERE b.user_id = c.user_id AND b.start_time < :since AND b.status = 'completed')
   GROUP BY n
)
SELECT n AS period, customers, customers - coalesce(many, 0) AS repeat_customers
  FROM (SELECT n, count(*) AS customers FROM customer_period GROUP BY n) AS counted LEFT JOIN new_customers USING (n)
UNION ALL
SELECT NULL, count(*), count(*) - coalesce((SELECT sum(many) FROM new_customers), 0)::bigint FROM first_period
 ORDER BY 1
