-- Which rulebook a decision was made under: `siyu rules status` lists them, `siyu rules diff` compares.
ALTER TABLE decisions
    ADD COLUMN IF NOT EXISTS rulebook LowCardinality(String) DEFAULT '' COMMENT 'version of the rulebook, empty before versions were kept' AFTER rule_version;
