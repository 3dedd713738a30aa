-- Which alleles that ClinVar calls pathogenic does one sample carry?
-- param: sample string = 'HG00096'  the sample's name
-- param: pathogenic_only bool = true  false shows every allele that ClinVar knows, whatever it says
SELECT
    k.sample,
    contig,
    pos,
    ref,
    alt,
    k.alt_copies,
    k.allele_numbers,
    k.phased,
    c.gene,
    c.rs,
    c.clinical_significance,
    c.review_status,
    c.conditions
FROM thousand_genomes.calls AS k
JOIN clinvar.grch37 AS c USING (contig, pos, ref, alt)
WHERE k.sample = $sample AND (c.is_pathogenic OR NOT $pathogenic_only)
ORDER BY contig, pos, ref, alt, c.clinical_significance
