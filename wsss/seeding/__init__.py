"""From a classifier's activation maps to seeds and masks. Pure: tensors in, tensors out."""
