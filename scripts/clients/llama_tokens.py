"""Token ids of llama.cpp against ours.

    llama_tokens.py MODEL TEXTS

MODEL is a GGUF, TEXTS a JSON list of texts with our ids for each. Prints how many texts differ.
"""

import json
import sys

from llama_cpp import Llama

model = Llama(model_path=sys.argv[1], vocab_only=True, verbose=False)
with open(sys.argv[2]) as file:
    texts = json.load(file)
differ = 0
for text, ids in texts:
    theirs = model.tokenize(text.encode(), add_bos=False, special=True)
    if theirs != ids:
        differ += 1
        print(repr(text), ids, theirs)
print("differ", differ)
