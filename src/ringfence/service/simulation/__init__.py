"""The simulation: the production loop, decision, action and journal on the model host, against seeded misfortune.

What can go wrong is a ``Scenario``, what goes wrong and when is a script of acts drawn from a seed, ``run`` plays a
script, ``checker`` holds what happened against the laws L1 to L10, and ``simulate`` does so for many seeds and cuts a
script that breaks a law down to the acts that matter.
"""
