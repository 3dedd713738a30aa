-- Which volumes lack sweeps, and which ones?
-- param: site string = ''  the radar, such as KTLX; empty for all
-- param: first_day date = 1991-06-01  first UTC day
-- param: last_day date = 2100-01-01  last UTC day
--
-- Elevation numbers count the cuts of the VCP from 1; a cut that is there but not whole counts as missing. Of volumes
-- whose head alone was ingested (complete is NULL) nothing is known, so they are not here. sweeps_declared is NULL
-- before 2008, when the volumes did not say.
SELECT
    site,
    volume_time,
    vcp,
    sweeps_declared,
    sweeps_present,
    sweeps_missing,
    list_transform(sweeps_missing, number -> cut_angles[number]) AS missing_angles,
    rays,
    end_time,
    object
FROM nexrad.volumes
WHERE
    NOT complete
    AND ($site = '' OR site = $site)
    AND date BETWEEN $first_day AND $last_day
ORDER BY site, volume_time
