-- How frequent is each allele of a region among samples of my own choice?
-- param: samples list<string>  the samples' names: A,B,C or ["A","B","C"]
-- param: contig string = '22'  contig of the region: 1 to 22, X, Y, MT
-- param: first_pos int = 1  first position of the region
-- param: last_pos int = 300000000  last position of the region
-- param: ploidy int = 0  alleles of a call; 0 takes what the calls of the site have
--
-- Samples are counted where an object has them: one that is in the lake, but not in the object of an
-- allele, has no call there. Carriers are exact for any ploidy. ac is NULL where calls have more than two alleles. an and af are NULL
-- where they cannot be told: calls of the site differ in ploidy (X: choose samples of one sex and give the
-- ploidy), or some are half missing without carrying alt.
WITH members AS (
    SELECT object, count(*) AS samples, array_agg(number) AS numbers
    FROM (
        SELECT number, unnest(objects) AS object
        FROM thousand_genomes.samples
        WHERE sample IN (SELECT unnest($samples))
    )
    GROUP BY object
),

carriers AS (
    SELECT
        g.contig,
        g.pos,
        g.ref,
        g.alt,
        g.alt_index,
        m.samples,
        if($ploidy > 0, $ploidy, g.ploidy) AS ploidy,
        g.n_half_missing > len(g.half_missing) AS some_half_called,
        len(list_intersect(g.het, m.numbers)) AS n_het,
        len(list_intersect(g.hom_alt, m.numbers)) AS n_hom_alt,
        len(list_intersect(g.hemi, m.numbers)) AS n_hemi,
        len(list_intersect(g.half_missing, m.numbers)) AS n_half_missing,
        len(list_intersect(g.missing, m.numbers)) AS n_missing
    FROM thousand_genomes.genotypes AS g
    JOIN members AS m ON m.object = g._source
    WHERE g.contig = $contig AND g.pos BETWEEN $first_pos AND $last_pos
),

counted AS (
    SELECT
        *,
        if(ploidy > 2, NULL, n_het + 2 * n_hom_alt + n_hemi + n_half_missing) AS ac,
        if(ploidy > 2 OR some_half_called, NULL, ploidy * (samples - n_missing) - n_half_missing) AS an
    FROM carriers
)

SELECT
    contig,
    pos,
    ref,
    alt,
    samples,
    n_het,
    n_hom_alt,
    n_hemi,
    n_half_missing,
    n_missing,
    ac,
    an,
    CAST(ac AS DOUBLE) / nullif(an, 0) AS af
FROM counted
ORDER BY contig, pos, ref, alt, alt_index
