"""Tables that map the free key names of OSCE cases to our code lists. English keys, lower case, underscores as spaces."""

from __future__ import annotations

import re

from .. import codes
from ..codes.names import library_code, normalise

# Region by words of the key, in order; the first that fits. Several regions where a key names several.
_REGIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"cardiopulmonary", ("heart", "lungs")),
    (r"neurovascular", ("neurological", "peripheral_circulation")),
    (r"head and neck", ("head", "neck")),
    (r"\bheent\b", ("head", "eyes", "ears", "nose", "mouth_throat")),
    (r"\bent\b", ("ears", "nose", "mouth_throat")),
    (r"mental|psych|\bmood\b|\baffect\b|thought|insight|behavio|cognition|perception", ("mental_state",)),
    (r"lymph", ("lymph_nodes",)),
    (r"fontanel", ("fontanelle",)),
    (r"thyroid", ("thyroid",)),
    (r"\bgait\b", ("gait",)),
    (r"reflex", ("reflexes",)),
    (r"pupil|\beyes?\b|ophthalm|fundosc", ("eyes",)),
    (r"\bears?\b|otosc", ("ears",)),
    (r"\bnose\b|nasal", ("nose",)),
    (r"mouth|\boral\b|throat|mucous|pharyn", ("mouth_throat",)),
    (r"scalp|\bhead\b|\bface\b|facial", ("head",)),
    (r"\bneck\b", ("neck",)),
    (r"breast", ("breast",)),
    (r"cardi|heart", ("heart",)),
    (r"lung|pulmon|respirat|\bchest\b|thorax", ("lungs",)),
    (r"kidney|\brenal\b|costovertebral|flank", ("flank",)),
    (r"abdom|hepat|spleen|\bfast\b", ("abdomen",)),
    (r"groin|inguinal", ("groin",)),
    (r"\brect|\banal\b", ("rectum",)),
    (r"perine", ("perineum",)),
    (r"uter|fetal|fetus|fundal", ("uterus",)),
    (r"genital|genitourin|scrot|penis|penile|testic|vulv", ("genitalia",)),
    (r"pelvi|gyn[ae]?ecol|vagin|adnex|speculum|bimanual|cervical (?:exam|motion)", ("pelvis",)),
    (r"\bspin|\bback\b|lumbar", ("spine",)),
    (r"pulse|peripheral|capillary|o?edema", ("peripheral_circulation",)),
    (r"\b(?:leg|foot|feet|ankle|knee|hip|thigh|calf|achilles|toe)s?\b|lower (?:extremit|limb)", ("lower_limbs",)),
    (r"\b(?:arm|hand|wrist|finger|elbow)s?\b|upper (?:extremit|limb)", ("upper_limbs",)),
    (r"extremit|\blimbs?\b", ("upper_limbs", "lower_limbs")),
    (r"musculoskeletal|joint|shoulder", ("joints",)),
    (r"\bskin\b|dermat|rash|lesion|lacerat|jaundice", ("skin",)),
    (r"neuro|cranial|motor|sensory|sensation|coordination|hallpike|positional|conscious|orientation|speech", ("neurological",)),
    (r"general|appearance|growth", ("general",)),
)
_MANOEUVRES: tuple[tuple[str, str], ...] = (
    (r"inspect", "inspection"), (r"palpat", "palpation"), (r"percuss", "percussion"), (r"auscult|heart sounds", "auscultation"),
    (r"range of motion", "range_of_motion"), (r"reflex", "tendon_reflex"), (r"cranial", "cranial_nerves"),
    (r"\bgait\b", "gait_test"), (r"straight leg", "straight_leg_raise"), (r"sensory|sensation", "sensation"),
    (r"strength|motor", "strength"),
    (r"pupil", "pupils"), (r"o?edema", "oedema"), (r"conscious|mental status|orientation", "consciousness"),
    (r"growth|circumference|length|weight", "measurement"),
)  # fmt: skip
_GENERIC = re.compile(  # a key that only groups tests
    r"(?:(?:basic|routine|initial|other|additional|brain|complete|comprehensive|further) )*"
    r"(?:imaging(?: (?:studies|results|tests|and other tests))?|blood (?:tests?|works?|chemistry|studies)|"
    r"(?:lab|labs|laboratory|laboratories)(?: (?:tests?|studies|results|findings|values))?|investigations|tests?|others?|"
    r"serum(?: (?:studies|chemistry))?|chemistry(?: panel)?|metabolic panel|assessment tools|special tests)"
)
_CODES: dict[str, str] = {  # further names of tests in the library
    "echocardiogram": "echo", "thyroid function tests": "tsh", "thyroid stimulating hormone": "tsh", "tsh": "tsh",
    "free t4": "tsh", "renal function tests": "renal_function", "liver enzymes": "liver_function",
    "cbc with differentiation": "cbc",
    "cbc with differential": "cbc", "peripheral smear": "blood_smear", "blood cultures": "blood_culture",
    "chest radiography": "chest_xray", "mri of the brain": "head_mri", "ct scan chest": "chest_ct", "ct head": "head_ct",
    "ct scan head": "head_ct", "mri brain": "head_mri", "troponins": "troponin", "fasting lipid profile": "lipids",
    "beta hcg": "hcg", "urine beta hcg": "hcg", "urine pregnancy test": "hcg", "serum beta hcg": "hcg",
    "blood gas analysis": "blood_gas", "fecal occult blood test": "stool_routine", "stool occult blood test": "stool_routine",
    "abdominal ultrasonography": "abdominal_ultrasound", "x-ray abdomen": "abdominal_xray",
    "ultrasound pelvis": "pelvic_ultrasound", "pulmonary function test": "spirometry", "pulmonary function tests": "spirometry",
    "pfts": "spirometry",
    "tuberculin skin test": "tb_test", "allergy testing": "allergy_test", "stool culture and sensitivity": "stool_culture",
    "basic audiometry": "audiometry", "colonoscopy report": "colonoscopy", "anti-nuclear antibody": "ana",
    "anti-nuclear antibodies": "ana", "csf analysis": "lumbar_puncture", "hiv": "hiv_test", "syphilis": "syphilis_test",
}  # fmt: skip
_ANALYTES: dict[str, tuple[str, ...]] = {  # loose analytes belong to a test of the library
    "cbc": ("wbc", "rbc", "hb", "hgb", "hemoglobin", "haemoglobin", "hematocrit", "platelets", "platelet count",
            "leukocyte count", "total count wbc", "mcv", "mean corpuscular volume", "neutrophils", "lymphocytes", "monocytes",
            "eosinophils", "hemoglobin concentration", "basophils", "bands", "white blood cells",
            "white blood cell count", "leukocytes"),
    "renal_function": ("creatinine", "bun", "urea", "urea nitrogen", "blood urea nitrogen",
                       "serum urea nitrogen"),
    "electrolytes": ("na", "k", "cl", "sodium", "potassium", "chloride", "bicarbonate", "hco3", "calcium", "magnesium",
                     "phosphate", "phosphorus", "na+", "k+", "cl-", "ca2+"),
    "liver_function": ("alp", "alkaline phosphatase", "bilirubin", "bilirubin total", "bilirubin direct", "total bilirubin",
                       "direct bilirubin", "albumin", "ggt", "alanine aminotransferase",
                       "aspartate aminotransferase", "total serum bilirubin"),
    "glucose": ("glucose", "fasting glucose", "fasting blood glucose", "random blood glucose"),
}  # fmt: skip
_BY_NAME = {normalise(name): code for name, code in _CODES.items()}
_BY_NAME |= {normalise(name): code for code, names in _ANALYTES.items() for name in names}
_HEAD = re.compile(r"^(?:serum|blood) ")
_TAIL = re.compile(r"\s+(?:tests?|reports?|results?|levels?|stud(?:y|ies)|panel|scan|findings)$")


def clean(key: str) -> str:
    """A key as words."""
    return re.sub(r"\s+", " ", key.replace("_", " ")).strip()


def regions(path: tuple[str, ...]) -> tuple[str, ...]:
    """The regions a finding belongs to; empty where no word of its keys is known.

    Every key of the path counts, except that a key of several regions yields to a more exact key below it.
    """
    found: list[tuple[str, ...]] = [_regions(clean(key).lower()) for key in path]
    exact: list[tuple[str, ...]] = [r for r in found if len(r) == 1 and r != ("general",)]
    chosen = exact or [r for r in found if len(r) > 1] or [r for r in found if r]
    return tuple(dict.fromkeys(code for group in chosen for code in group))


def _regions(words: str) -> tuple[str, ...]:
    return next((named for pattern, named in _REGIONS if re.search(pattern, words)), ())


def manoeuvre(path: tuple[str, ...]) -> str:
    """The manoeuvre that the innermost telling key names; inspection where none does."""
    for key in reversed(path):
        for pattern, code in _MANOEUVRES:
            if re.search(pattern, clean(key).lower()):
                return code
    return "inspection"


def is_group(name: str) -> bool:
    """Whether a key only groups tests ("Imaging", "Blood Work")."""
    return library_code(name) is None and _GENERIC.fullmatch(name.lower()) is not None


def test_code(name: str) -> str | None:
    """The library code of a test or of a loose analyte; None if the library does not list it."""
    short = name.lower()
    while True:
        code = library_code(short) or _BY_NAME.get(normalise(short))
        if code in codes.tests():
            return code
        shorter = _TAIL.sub("", short) if _TAIL.search(short) else _HEAD.sub("", short)
        if shorter == short:
            return None
        short = shorter
