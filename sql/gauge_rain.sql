-- How much rain fell at a gauge, hour by hour, as the radar sees it?
-- param: site string  the radar, such as KTLX
-- param: latitude float  of the gauge, degrees north
-- param: longitude float  of the gauge, degrees east, negative in America
-- param: first_day date  first UTC day
-- param: days int = 1  number of days
-- param: a float = 300  of Z = a R^b; 300 and 1.4 are the WSR-88D's for convection, 200 and 1.6 Marshall and Palmer's
-- param: b float = 1.4  of Z = a R^b
-- param: cap_dbz float = 53  stronger echoes count as this one, so that hail is not taken for rain
-- param: radius_km float = 1.0  the cell nearest to the gauge counts, at most so far from it
-- param: max_gap_minutes float = 15  longer times between volumes are not bridged
--
-- Rate (mm/h) of a volume: from the largest DBZH of the lowest cut in the nearest cell of 0.01 degrees that has one,
-- of equally near cells the strongest; no such cell within radius_km is no rain (an echo that only higher cuts see
-- has not reached the ground). Scans of the lowest cut within one volume (SAILS) count as one, with the strongest of
-- them. Between two volumes the rate changes evenly, and is integrated over time. Where they lie more than
-- max_gap_minutes apart, nothing is assumed: minutes_observed says how much of the hour the rain is of,
-- minutes_missing the rest, and rain_mm is NULL where nothing was observed. Volumes that lack their lowest cut do not
-- count.
WITH lowest AS (
    SELECT volume_time, min(fixed_angle) AS angle
    FROM nexrad.sweeps
    WHERE site = $site AND date BETWEEN $first_day AND $first_day + CAST($days - 1 AS INTEGER)
    GROUP BY volume_time
),

scans AS (
    SELECT
        volume_time,
        altitude_m,
        angle,
        111.195 * sqrt(
            power(v.latitude - $latitude, 2)
            + power((v.longitude - $longitude) * cos(radians($latitude)), 2)
        ) AS from_radar_km
    FROM nexrad.volumes AS v
    JOIN lowest USING (volume_time)
    WHERE
        site = $site
        AND date BETWEEN $first_day AND $first_day + CAST($days - 1 AS INTEGER)
        AND rays > 0
        AND NOT coalesce(list_contains(sweeps_missing, 1), false)
),

cells AS (
    SELECT
        volume_time,
        dbzh_low,
        low_altitude_m,
        111.195 * sqrt(
            power(latitude - $latitude, 2)
            + power((longitude - $longitude) * cos(radians($latitude)), 2)
        ) AS distance_km
    FROM nexrad.grid
    WHERE
        site = $site
        AND date BETWEEN $first_day AND $first_day + CAST($days - 1 AS INTEGER)
        AND latitude BETWEEN $latitude - $radius_km / 111 AND $latitude + $radius_km / 111
        AND longitude BETWEEN
            $longitude - $radius_km / 111 / cos(radians($latitude))
            AND $longitude + $radius_km / 111 / cos(radians($latitude))
        AND dbzh_low IS NOT NULL
),

nearest AS (  -- altitudes tell the lowest cut from the next, half a degree or more above it
    SELECT c.volume_time, arg_min(c.dbzh_low, (round(c.distance_km, 3), -c.dbzh_low)) AS dbz
    FROM cells AS c
    JOIN scans AS s USING (volume_time)
    WHERE
        c.distance_km <= $radius_km
        AND c.low_altitude_m < 100 + s.altitude_m + 1000 * (
            s.from_radar_km * tan(radians(s.angle + 0.25)) + power(s.from_radar_km, 2) / (2 * 8494.667)
        )
    GROUP BY c.volume_time
),

rates AS (
    SELECT
        volume_time,
        if(dbz IS NULL, 0, power(power(10, least(dbz, $cap_dbz) / 10) / $a, 1 / $b)) AS mm_per_h
    FROM scans
    LEFT JOIN nearest USING (volume_time)
),

steps AS (
    SELECT
        volume_time AS start_time,
        mm_per_h AS start_rate,
        lead(volume_time) OVER (ORDER BY volume_time) AS end_time,
        lead(mm_per_h) OVER (ORDER BY volume_time) AS end_rate
    FROM rates
),

hours AS (
    SELECT unnest(
        generate_series(
            date_trunc('hour', min(volume_time)), max(volume_time), INTERVAL 1 HOUR
        )
    ) AS hour
    FROM rates
),

pieces AS (
    SELECT
        h.hour,
        s.start_rate,
        s.end_rate,
        epoch(s.end_time - s.start_time) AS step_s,
        epoch(greatest(s.start_time, h.hour) - s.start_time) AS from_s,
        epoch(least(s.end_time, h.hour + INTERVAL 1 HOUR) - s.start_time) AS to_s
    FROM hours AS h
    JOIN steps AS s ON s.start_time < h.hour + INTERVAL 1 HOUR AND s.end_time > h.hour
    WHERE epoch(s.end_time - s.start_time) <= 60 * $max_gap_minutes
),

sums AS (
    SELECT
        hour,
        sum(
            (to_s - from_s) / 3600
            * (start_rate + (end_rate - start_rate) * (from_s + to_s) / 2 / step_s)
        ) AS rain_mm,
        sum(to_s - from_s) / 60 AS minutes
    FROM pieces
    GROUP BY hour
),

peaks AS (
    SELECT date_trunc('hour', volume_time) AS hour, count(*) AS volumes, max(mm_per_h) AS mm_per_h
    FROM rates
    GROUP BY date_trunc('hour', volume_time)
)

SELECT
    hour,
    round(s.rain_mm, 2) AS rain_mm,
    round(coalesce(s.minutes, 0), 1) AS minutes_observed,
    round(60 - coalesce(s.minutes, 0), 1) AS minutes_missing,
    coalesce(p.volumes, 0) AS volumes,
    round(p.mm_per_h, 2) AS largest_rate_mm_h
FROM hours
LEFT JOIN sums AS s USING (hour)
LEFT JOIN peaks AS p USING (hour)
ORDER BY hour
