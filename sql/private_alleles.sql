-- Which alleles occur in one super-population only?
-- param: super_population string = ''  AFR, AMR, EAS, EUR or SAS; empty for any
-- param: min_ac int = 2  only alleles that at least so many haplotypes carry
-- param: contig string = ''  only this contig: 1 to 22, X, Y, MT; empty for all
--
-- Private: every carrier of the allele, samples without a population included, is of the super-population.
WITH private AS (
    SELECT
        contig,
        pos,
        ref,
        alt,
        id,
        CASE ac
            WHEN ac_afr THEN 'AFR'
            WHEN ac_amr THEN 'AMR'
            WHEN ac_eas THEN 'EAS'
            WHEN ac_eur THEN 'EUR'
            WHEN ac_sas THEN 'SAS'
        END AS super_population,
        ac,
        an
    FROM thousand_genomes.variants
    WHERE ac >= greatest($min_ac, 1) AND ($contig = '' OR contig = $contig)
)

SELECT contig, pos, ref, alt, id, super_population, ac, an
FROM private
WHERE super_population IS NOT NULL AND ($super_population = '' OR super_population = $super_population)
ORDER BY ac DESC, contig, pos, ref, alt
