"""How is new firmware checked and put in place?"""
