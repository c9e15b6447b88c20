//! The rules for documents and their variables. The error for a violation has the name of the rule in
//! `extensions.rule`.

macro_rules! rules {
    ($($rule:ident: $meaning:literal,)*) => {
        /// A rule of the GraphQL specification, with its name in graphql-js, or a rule of this server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule { $($rule),* }

        impl Rule {
            pub const ALL: &[Self] = &[$(Self::$rule),*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$rule => stringify!($rule)),* }
            }

            /// Returns the meaning of the rule, for the documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$rule => $meaning),* }
            }
        }
    };
}

rules! {
    ExecutableDefinitions: "A document may contain only operations and fragments.",
    FieldsOnCorrectType: "Each selected field must exist on its type.",
    FragmentsOnCompositeTypes: "The type of a fragment must be an object, an interface or a union.",
    KnownArgumentNames: "Each argument must exist on its field or directive.",
    KnownDirectives: "Each directive must exist and be allowed at its location.",
    KnownFragmentNames: "Each fragment that is spread must be defined in the document.",
    KnownOperationNames: "`operationName` must name an operation. It may be omitted if the document has only one.",
    KnownTypeNames: "Each type that the document names must exist in the schema.",
    LoneAnonymousOperation: "An operation without a name must be the only operation in its document.",
    MaxNesting: "Fragments must not be nested too deeply.",
    NoFragmentCycles: "A fragment must not spread itself, directly or through other fragments.",
    NoSchemaIntrospection: "`__schema` and `__type` must not be selected if the server does not allow introspection.",
    NoUndefinedVariables: "Each variable that an operation uses must be defined by the operation.",
    NoUnusedFragments: "Each fragment must be used by an operation.",
    NoUnusedVariables: "Each variable that an operation defines must be used.",
    OverlappingFieldsCanBeMerged: "Fields with the same response name must have the same field, arguments and type.",
    PossibleFragmentSpreads: "A fragment may be spread only where an object can have the type of the fragment.",
    ProvidedRequiredArguments: "Each required argument must be given.",
    ScalarLeafs: "A field has a selection set if and only if its type is an object, an interface or a union.",
    SingleFieldSubscriptions: "A subscription must have exactly one field at its root, other than `__typename`.",
    UniqueArgumentNames: "An argument must be given only once.",
    UniqueDirectivesPerLocation: "A directive must be given only once at each location.",
    UniqueFragmentNames: "Two fragments must not have the same name.",
    UniqueInputFieldNames: "A field of an input object must be given only once.",
    UniqueOperationNames: "Two operations must not have the same name.",
    UniqueVariableNames: "Two variables of an operation must not have the same name.",
    ValuesOfCorrectType: "Each value in the document must match the type of its argument, input field or variable.",
    VariableValues: "Each value in `variables` must match the type of its variable.",
    VariablesAreInputTypes: "The type of a variable must be a scalar, an enum, an input object or a list of them.",
    VariablesInAllowedPosition: "The type of a variable must match the argument or input field that uses the variable.",
}
