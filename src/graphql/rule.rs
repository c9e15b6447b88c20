//! The rules that documents and their variables must follow. A violation names its rule in `extensions.rule`.

macro_rules! rules {
    ($($rule:ident: $meaning:literal,)*) => {
        /// A rule of the GraphQL specification, with the name that graphql-js and its documentation use, or one of the
        /// few rules of this server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule { $($rule),* }

        impl Rule {
            pub const ALL: &[Self] = &[$(Self::$rule),*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$rule => stringify!($rule)),* }
            }

            /// Returns a sentence for the documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$rule => $meaning),* }
            }
        }
    };
}

rules! {
    ExecutableDefinitions: "A document has only operations and fragments.",
    FieldsOnCorrectType: "A type has each field that is selected on it.",
    FragmentsOnCompositeTypes: "The type of a fragment is an object, an interface or a union.",
    KnownArgumentNames: "A field or directive has each argument that is given.",
    KnownDirectives: "Each directive exists and stands where it may.",
    KnownFragmentNames: "Each fragment that is spread is defined.",
    KnownOperationNames: "`operationName` names an operation of the document. It may be omitted if there is only one.",
    KnownTypeNames: "Each type exists.",
    LoneAnonymousOperation: "An operation without a name is the only one of its document.",
    MaxNesting: "Fragments are not nested too deeply.",
    NoFragmentCycles: "A fragment does not spread itself.",
    NoSchemaIntrospection: "The server allows no introspection.",
    NoUndefinedVariables: "Each variable is defined by its operation.",
    NoUnusedFragments: "Each fragment is used.",
    NoUnusedVariables: "Each variable is used.",
    OverlappingFieldsCanBeMerged: "Fields with the same name in the response have the same field and arguments.",
    PossibleFragmentSpreads: "An object can have the type of a fragment that is spread on it.",
    ProvidedRequiredArguments: "Required arguments are given.",
    ScalarLeafs: "A field has selections if its type is an object, an interface or a union, and only then.",
    SingleFieldSubscriptions: "A subscription has one field at its root.",
    UniqueArgumentNames: "An argument is given once.",
    UniqueDirectivesPerLocation: "A directive stands once at a place.",
    UniqueFragmentNames: "Each fragment has a name of its own.",
    UniqueInputFieldNames: "A field of an input object is given once.",
    UniqueOperationNames: "Each operation has a name of its own.",
    UniqueVariableNames: "Each variable of an operation has a name of its own.",
    ValuesOfCorrectType: "A value in the document has the type of its argument or input field.",
    VariableValues: "A value in `variables` has the type of its variable.",
    VariablesAreInputTypes: "The type of a variable is a scalar, an enum or an input object.",
    VariablesInAllowedPosition: "A variable has a type that its argument or input field accepts.",
}
