//! The places at which a rule can be broken on purpose. Without the feature `mutants` nothing of it is compiled.

/// True where the simulation chose the mutant of this name; a constant without the feature.
#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:literal) => {
        $crate::mutants::is_chosen($name)
    };
}

/// True where the simulation chose the mutant of this name; a constant without the feature.
#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:literal) => {
        false
    };
}
