"""Value-based learning: independent Q-learners, VDN and QMIX, with the parts of MAST (arXiv:2409.19391) as options.

`targets` are pure functions, `nets` the agents' networks, `mixers` join the agents' values into a team's, `replay` keeps
episodes. `learner` trains the game's policy, whose entities come and go, from short pieces of many games; recurrent agents
learn from whole episodes of the small tasks in `reproduce.tasks.q_learn`.
"""
