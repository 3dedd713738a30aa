-- Which alleles with a known drug response occur, and how frequent are they in each super-population?
-- param: drug string = ''  only conditions that name this, such as warfarin; empty for all
SELECT
    c.gene,
    c.conditions,
    contig,
    pos,
    ref,
    alt,
    c.rs,
    c.clinical_significance,
    v.ac,
    v.an,
    v.af,
    v.af_afr,
    v.af_amr,
    v.af_eas,
    v.af_eur,
    v.af_sas
FROM clinvar.grch37 AS c
JOIN thousand_genomes.variants AS v USING (contig, pos, ref, alt)
WHERE
    strpos(c.clinical_significance, 'drug response') > 0
    AND v.ac > 0
    AND ($drug = '' OR strpos(lower(c.conditions), lower($drug)) > 0)
ORDER BY v.af DESC, contig, pos, ref, alt
