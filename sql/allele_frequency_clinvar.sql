-- How frequent are ClinVar's pathogenic alleles in the 1000 Genomes Project and in each of its super-populations?
-- param: gene string = ''  only this gene, as ClinVar spells it; empty for all genes
-- param: min_ac int = 1  only alleles that at least so many haplotypes carry
--
-- Frequencies are of alleles: copies of alt among the called alleles (af = ac / an, computed here, so that the
-- column af, as large as ac, is not read: 14 % of the bytes at the size of phase 3). Each of the 26
-- populations has its own columns too, such as af_gbr; see: lakeq describe thousand_genomes.variants
SELECT
    c.gene,
    contig,
    pos,
    ref,
    alt,
    c.rs,
    c.clinical_significance,
    c.conditions,
    v.ac,
    v.an,
    v.ac / v.an AS af,
    v.af_afr,
    v.af_amr,
    v.af_eas,
    v.af_eur,
    v.af_sas
FROM clinvar.grch37 AS c
JOIN thousand_genomes.variants AS v USING (contig, pos, ref, alt)
WHERE
    c.is_pathogenic
    AND v.ac >= $min_ac
    AND ($gene = '' OR strpos('|' || c.gene || '|', '|' || $gene || '|') > 0)
ORDER BY af DESC, contig, pos, ref, alt
