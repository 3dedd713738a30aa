-- Where does the wind turn from towards the radar to away from it between neighbouring rays?
-- param: site string  the radar, such as KTLX
-- param: first_day date  first UTC day
-- param: days int = 1  number of days
-- param: least_m_s float = 25  least difference of radial velocity from one ray to the next, m/s
-- param: least_dbz float = 30  only rays with an echo as strong as this, dBZ
-- param: nearest_km float = 5  nearest range
-- param: farthest_km float = 100  farthest range; farther out a beam is too wide for a small vortex
-- param: highest_angle float = 1.0  highest fixed angle of the sweeps, degrees
-- param: least_pairs int = 3  pairs of gates that a couplet has at least, so that noise does not count
--
-- Pairs are gates at one range of two rays that lie side by side; delta_m_s is the velocity of the ray clockwise less the
-- other's, so that counterclockwise (cyclonic) rotation is positive. Pairs within 2.5 km of range and 5 degrees are one
-- couplet; the row describes its strongest pair. Aliasing: velocities are folded into plus and minus nyquist_m_s, and
-- nothing is dealiased. 'none' says that the difference is below the Nyquist velocity; 'possible' that the same codes are a
-- smooth flow, turned by one fold, of unfolded_m_s only: look at the picture; 'unknown' that the radar gives no Nyquist
-- velocity (TDWR). A difference that a fold hides is not found.
WITH cuts AS (
    SELECT volume_time, sweep_number, fixed_angle
    FROM nexrad.sweeps
    WHERE
        site = $site
        AND date BETWEEN $first_day AND $first_day + CAST($days - 1 AS INTEGER)
        AND fixed_angle <= $highest_angle
        AND list_contains(string_split(moments, ' '), 'VRADH')
),

beams AS (
    SELECT
        r.volume_time,
        r.sweep_number,
        c.fixed_angle,
        CAST(r.azimuth AS DOUBLE) AS azimuth,
        r.azimuth_spacing,
        CAST(r.nyquist_velocity AS DOUBLE) AS nyquist_velocity,
        r.dbzh_max,
        r.vradh AS codes,
        r.vradh_coding AS coding
    FROM nexrad.rays AS r
    JOIN cuts AS c USING (volume_time, sweep_number)
    WHERE
        r.site = $site
        AND r.date BETWEEN $first_day AND $first_day + CAST($days - 1 AS INTEGER)
        AND r.vradh IS NOT NULL
),

circle AS (  -- the first ray once more behind the last
    SELECT *, azimuth AS place FROM beams
    UNION ALL BY NAME
    SELECT *, azimuth + 360 AS place FROM beams WHERE azimuth < 2
),

sides AS (
    SELECT
        *,
        lead(place) OVER beside - place AS apart,
        lead(codes) OVER beside AS next_codes,
        lead(coding) OVER beside AS next_coding
    FROM circle
    WINDOW beside AS (PARTITION BY volume_time, sweep_number ORDER BY place)
),

gates AS (
    SELECT
        volume_time,
        sweep_number,
        fixed_angle,
        (azimuth + apart / 2) % 360 AS azimuth,
        nyquist_velocity AS nyquist_m_s,
        coding,
        next_coding,
        unnest(codes) AS code,
        unnest(next_codes) AS next_code,
        unnest(range(greatest(len(codes), len(next_codes)))) AS gate
    FROM sides
    WHERE apart BETWEEN 0.05 AND 1.6 * azimuth_spacing AND dbzh_max >= $least_dbz
),

pairs AS (
    SELECT
        volume_time,
        sweep_number,
        fixed_angle,
        azimuth,
        nyquist_m_s,
        (coding.range_m + gate * coding.spacing_m) / 1000 AS range_km,
        (code - coding.offset) / coding.scale AS velocity,
        (next_code - next_coding.offset) / next_coding.scale AS next_velocity
    FROM gates
    WHERE code >= 2 AND next_code >= 2
),

turns AS (
    SELECT *, next_velocity - velocity AS delta_m_s
    FROM pairs
    WHERE
        range_km BETWEEN $nearest_km AND $farthest_km
        AND abs(next_velocity - velocity) >= $least_m_s
),

couplets AS (
    SELECT
        volume_time,
        sweep_number,
        sign(delta_m_s) AS direction,
        count(*) AS pairs,
        arg_max(
            struct_pack(fixed_angle, azimuth, range_km, nyquist_m_s, velocity, next_velocity, delta_m_s),
            (abs(delta_m_s), -range_km, -azimuth)
        ) AS top
    FROM turns
    GROUP BY
        volume_time, sweep_number, floor(azimuth / 5), floor(range_km / 2.5), sign(delta_m_s)
    HAVING count(*) >= $least_pairs
)

SELECT
    c.volume_time,
    c.sweep_number,
    round(top.azimuth, 2) AS azimuth,
    round(top.range_km, 3) AS range_km,
    round(
        v.altitude_m + 1000 * (
            top.range_km * sin(radians(top.fixed_angle))
            + power(top.range_km * cos(radians(top.fixed_angle)), 2) / (2 * 8494.667)
        )
    ) AS altitude_m,
    top.velocity AS velocity_m_s,
    top.next_velocity AS next_velocity_m_s,
    top.delta_m_s AS delta_m_s,
    if(c.direction > 0, 'cyclonic', 'anticyclonic') AS rotation,
    c.pairs,
    top.nyquist_m_s AS nyquist_m_s,
    CASE
        WHEN coalesce(top.nyquist_m_s, 0) <= 0 THEN 'unknown'
        WHEN abs(top.delta_m_s) > top.nyquist_m_s THEN 'possible'
        ELSE 'none'
    END AS aliasing,
    round(
        top.delta_m_s - 2 * nullif(top.nyquist_m_s, 0)
        * round(top.delta_m_s / (2 * nullif(top.nyquist_m_s, 0))),
        2
    ) AS unfolded_m_s
FROM couplets AS c
JOIN nexrad.volumes AS v
    ON
        v.volume_time = c.volume_time
        AND v.site = $site
        AND v.date BETWEEN $first_day AND $first_day + CAST($days - 1 AS INTEGER)
ORDER BY
    c.volume_time, aliasing, abs(top.delta_m_s) DESC, c.sweep_number, top.range_km, top.azimuth
