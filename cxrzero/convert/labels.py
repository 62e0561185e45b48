"""What an imported model is asked where the user names no label."""

# The 14 observations of CheXpert (Irvin et al., AAAI 2019), what models of this field are asked first.
LABELS = [
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "edema",
    "enlarged cardiomediastinum",
    "fracture",
    "lung lesion",
    "lung opacity",
    "no finding",
    "pleural effusion",
    "pleural other",
    "pneumonia",
    "pneumothorax",
    "support devices",
]
